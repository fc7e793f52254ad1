"""Reads what the other rooms wrote, and answers: what serves, what is behind it, and why."""
