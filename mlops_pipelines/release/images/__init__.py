"""Images on a Docker engine: a runtime per lock file, and on it a thin layer per version."""
