"""Answers requests with one bundle: everything of ours that runs beside a served model."""

__version__ = "0.1.0"
