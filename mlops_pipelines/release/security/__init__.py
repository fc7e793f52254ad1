"""What could do harm in a version: its files, its rows, its answers, its packages."""
