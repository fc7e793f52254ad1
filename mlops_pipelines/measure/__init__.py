"""Statistics that every room uses: arrays and frames in, numbers out; no files, no services."""
