"""Nulls that were drawn for a reference: kept while the process lives, or longer where they can be.

What a null is follows from the reference, the sizes that it is of and how it is drawn, so that one
that was kept is the one that would be drawn again.
"""

from __future__ import annotations

import hashlib
import inspect
import io
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from mlops_pipelines.measure import draws, maxima, statistics
from mlops_pipelines.measure.maxima import Null

_HELD = 8
_ARRAYS = (
    "shapes", "scales", "starts", "slopes", "signs", "together", "mean", "spread", "largest",
)  # fmt: skip


class Keep(Protocol):
    """Where nulls outlive the process; what lies there may go at any time."""

    def read(self, name: str) -> bytes | None:
        """What was written under this name, or None."""

    def write(self, name: str, content: bytes) -> None:
        """Keep it, if there is room."""


class KeptNulls:
    """The nulls of one reference, by what was asked; few are held at a time."""

    def __init__(self) -> None:
        self.keep: Keep | None = None
        self._held: dict[tuple[Any, ...], Null] = {}

    def null(
        self, asked: tuple[Any, ...], said: Callable[[], bytes], draw: Callable[[], Null]
    ) -> Null:
        """The null for what is `asked`, drawn where none is kept.

        `said` is all of the reference that a null depends on.
        """
        if asked not in self._held:
            found = self._found(asked, said, draw)
            if len(self._held) >= _HELD:
                self._held.pop(next(iter(self._held)))
            self._held[asked] = found
        return self._held[asked]

    def _found(
        self, asked: tuple[Any, ...], said: Callable[[], bytes], draw: Callable[[], Null]
    ) -> Null:
        if self.keep is None:
            return draw()
        name = hashlib.sha256(said() + repr(asked).encode() + _how()).hexdigest()[:32]
        content = self.keep.read(name)
        found = None if content is None else from_bytes(content)
        if found is None:
            found = draw()
            self.keep.write(name, to_bytes(found))
        return found


def to_bytes(null: Null) -> bytes:
    """As an npz file; `from_bytes` reads it back."""
    file = io.BytesIO()
    np.savez(file, rows=null.rows, **{name: getattr(null, name) for name in _ARRAYS})
    return file.getvalue()


def from_bytes(content: bytes) -> Null | None:
    """None where these are not the bytes of a null, whole."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            return Null(rows=int(found["rows"]), **{name: found[name] for name in _ARRAYS})
    except (ValueError, KeyError, TypeError, OSError, EOFError, BadZipFile):
        return None


@cache
def _how() -> bytes:
    """What changes with the way that nulls are drawn: what was drawn another way is not read."""
    texts = [inspect.getsource(each) for each in (draws, maxima, statistics)]
    return hashlib.sha256("".join(texts).encode()).digest()
