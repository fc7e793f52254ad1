"""Keeps machine-learning models healthy in production."""
