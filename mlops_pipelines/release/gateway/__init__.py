"""HAProxy in front of all models of an environment: one stable address for each."""
