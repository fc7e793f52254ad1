"""From rows to a registered model version."""
