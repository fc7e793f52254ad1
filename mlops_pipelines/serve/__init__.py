"""Answers requests with one bundle: everything of ours that runs beside a served model."""
