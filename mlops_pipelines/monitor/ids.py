"""The ids of each day's rows, where the servers look up whether a prediction was ever made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mlops_pipelines.errors import StoreError
from mlops_pipelines.serve.known import IDS, hashes, known_in
from mlops_pipelines.store import write_atomically


class DayIds:
    """The index files of a log folder, `ids/<day>.u64`: see `serve.known` for what they hold."""

    def __init__(self, log_dir: Path) -> None:
        self._folder = log_dir / IDS

    def count(self, day: str) -> int:
        """How many ids the day's index holds; -1 where there is none."""
        try:
            return self._path(day).stat().st_size // 8
        except FileNotFoundError:
            return -1

    def write(self, day: str, ids: pa.ChunkedArray) -> None:
        """Replace the day's index by that of `ids`; the same ids give the same bytes."""
        path = self._path(day)
        try:
            write_atomically(path, np.unique(_hashes(ids)).tobytes())
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}; rows stay in the log"
            ) from error

    def maybe(self, day: str, ids: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of `ids` (n,) the day may have; all where it has no index, never too few."""
        if self.count(day) < 0:
            return np.ones(len(ids), bool)
        return known_in(self._path(day), _hashes(ids))

    def _path(self, day: str) -> Path:
        return self._folder / f"{day}.u64"


def _hashes(ids: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return hashes(ids.cast(pa.binary()).to_pylist())
