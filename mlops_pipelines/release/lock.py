"""The pinned and hashed packages that a bundle needs to answer, and no others."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mlops_pipelines.serve.bundle import ONNX_RUNTIME, SCIKIT_LEARN

SERVER = ("cryptography", "httptools", "numpy", "orjson", "uvicorn", "uvloop")
SERVING = {
    SCIKIT_LEARN: (*SERVER, "pandas", "scikit-learn", "skops"),
    ONNX_RUNTIME: (*SERVER, "onnxruntime"),
}
"""What `serve` imports, by the runtime of the model."""


_PIN = re.compile(r"^[\w.-]+(?:\[[^\]]*\])?\s*==\s*([^\s;\\]+)\s*(?:;\s*([^\\\n]+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]+)")


class Pin(NamedTuple):
    """The release that a requirement pins, under which marker; None without one. SHA-256 hashes."""

    release: str | None
    marker: str | None
    hashes: frozenset[str]


def serving_lock(root: Path, runtime: str) -> str:
    """The part of `root`/requirements.lock that `runtime` needs, with its hashes and markers.

    Without a lock file, the installed versions, pinned and without hashes.
    """
    needed = closure(SERVING[runtime])
    lock = root / "requirements.lock"
    if not lock.is_file():
        return "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in sorted(needed))
    wanted = (
        text for name, text in requirements(lock.read_text("utf-8")) if canonical(name) in needed
    )
    return "".join(wanted)


def requirements(text: str) -> Iterator[tuple[str, str]]:
    """Each requirement of a lock file as (name, its lines without comments), in order."""
    name, lines = "", list[str]()
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace():
            if name:
                yield name, _joined(lines)
            name, lines = _name_in(line), []
        lines.append(line)
    if name:
        yield name, _joined(lines)


def pin(lines: str) -> Pin:
    """What the lines of one requirement pin."""
    found = _PIN.match(lines)
    release, marker = (found[1], found[2]) if found else (None, None)
    return Pin(release, marker.strip() if marker else None, frozenset(_HASH.findall(lines)))


def closure(roots: Iterable[str]) -> set[str]:
    """The installed distributions that `roots` need, themselves included, by canonical name."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [canonical(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(canonical(need.name))
    return found


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _name_in(line: str) -> str:
    end = next(
        (i for i, letter in enumerate(line) if not (letter.isalnum() or letter in "-_.")), None
    )
    return line[:end]


def _joined(lines: list[str]) -> str:
    # A dropped comment may have been the last line, so the one before it continues nothing.
    return "\n".join(lines).rstrip().rstrip("\\").rstrip() + "\n"
