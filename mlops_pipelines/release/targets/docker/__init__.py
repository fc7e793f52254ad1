"""Bundles become images, and run as containers behind a gateway."""
