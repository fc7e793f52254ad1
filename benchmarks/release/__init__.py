"""Versions as images behind a gateway: moved, taken back, failing and killed under load."""
