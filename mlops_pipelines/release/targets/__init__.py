"""Where bundles run; `process` is the embedded default."""
