"""pip's settings of this machine, as far as they mean something in a build elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "retries")


def certificates() -> str:
    """The file of certificates that pip is told to trust; empty where it is told of none."""
    return _settings().get("cert", "")


def variables() -> dict[str, str]:
    """pip's environment in a build: what lies on this machine's disk is not there."""
    found = _settings()
    kept = {name: _without_files(found.get(name, "")) for name in NAMES}
    return {
        f"PIP_{name.upper().replace('-', '_')}": value for name, value in kept.items() if value
    } | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@contextmanager
def as_in_a_build() -> Iterator[None]:
    """pip on this machine downloads as one in a build does: from its index, and without a cache."""
    before = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    there = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", **variables()}
    there |= {"PIP_CERT": found} if (found := certificates()) else {}
    _set(before, there)
    try:
        yield
    finally:
        _set(there, before)


def _set(gone: dict[str, str], wanted: dict[str, str]) -> None:
    for name in gone:
        os.environ.pop(name, None)
    os.environ.update(wanted)


def _settings() -> dict[str, str]:
    """By name, those of the environment over those of files."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    for line in sorted(said.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", " ")
    return found


def _without_files(value: str) -> str:
    return " ".join(part for part in value.split() if not part.startswith(("file:", "/")))
