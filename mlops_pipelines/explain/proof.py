"""A recorded hash beside what the thing itself says, and how such are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_pipelines.errors import NotFoundError

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

ABSENT = "absent"


@dataclass(frozen=True)
class Proof:
    """One recorded hash (or value), beside what was found; `thing` names it."""

    thing: str
    recorded: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether the thing is what the record says."""
        return self.recorded == self.found


def compared(thing: str, recorded: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Proof]:
    """One proof where all agree, else one for each that was changed, added or taken away."""
    differing = [
        name
        for name in sorted(recorded.keys() | found.keys())
        if recorded.get(name) != found.get(name)
    ]
    if not differing:
        yield Proof(thing, listing(recorded), listing(found))
    for name in differing:
        yield Proof(f"{thing} {name}", recorded.get(name, ABSENT), found.get(name, ABSENT))


def artifact(registry: Registry, version: Version, name: str) -> bytes | None:
    """A file of a version; None where there is none."""
    try:
        return registry.fetch(version.model, version.version, name).read_bytes()
    except NotFoundError:
        return None


def one_line(error: Exception) -> str:
    """What an error says."""
    return " ".join(f"{error}".split()) or type(error).__name__


def listing(files: Mapping[str, str]) -> str:
    """The digest of a list of names and hashes, as a bundle's manifest has it."""
    listed = json.dumps(dict(files), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(listed.encode())


def sha256(content: bytes) -> str:
    """The hash of these bytes, in hex."""
    return hashlib.sha256(content).hexdigest()
