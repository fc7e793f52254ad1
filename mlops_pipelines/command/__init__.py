"""Commands of `mlops` that look, and change nothing."""
