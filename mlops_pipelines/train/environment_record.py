"""What a version was trained in, as far as its tags do not say it."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache
from typing import Any

ENVIRONMENT = "environment.json"
"""Artifact of a version: `environment_document` at its training."""


def environment_document() -> dict[str, Any]:
    """Platform and installed distributions of this process, as a JSON value."""
    return {
        "schema": 1,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(_packages()),
    }


@cache
def _packages() -> dict[str, str]:
    """Read once: a process keeps what it has imported, whatever is installed meanwhile."""
    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        # Each look at a name or a version would parse the whole text again.
        said = each.metadata
        if said["Name"]:
            found[_canonical(said["Name"])] = said["Version"]
    return dict(sorted(found.items()))


def _canonical(name: str) -> str:
    """As PEP 503 compares names."""
    return name.lower().replace("_", "-").replace(".", "-")
