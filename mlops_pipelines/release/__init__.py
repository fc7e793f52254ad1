"""Takes a version to the traffic: gates, security, the bundle, the place where it runs."""
