"""What a version was trained in, as far as its tags do not say it."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

ENVIRONMENT = "environment.json"
"""Artifact of a version: `environment_document` at its training."""


def environment_document() -> dict[str, Any]:
    """Platform and installed distributions of this process, as a JSON value."""
    found = importlib.metadata.distributions()
    packages = {_canonical(name): each.version for each in found if (name := each.name)}
    return {
        "schema": 1,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(sorted(packages.items())),
    }


def _canonical(name: str) -> str:
    """As PEP 503 compares names."""
    return name.lower().replace("_", "-").replace(".", "-")
