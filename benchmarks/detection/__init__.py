"""How often windows without drift raise an alarm, and how often those with one do not."""
