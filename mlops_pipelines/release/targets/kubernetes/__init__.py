"""Versions as objects of a Kubernetes cluster."""
