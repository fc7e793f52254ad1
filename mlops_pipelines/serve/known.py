"""Which predictions were ever made, by the hashes of their ids.

An id is kept as 8 bytes of its BLAKE2b, so two ids are taken for one once in 2**64 pairs: an
unknown id may then look known, never a known one unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from mlops_pipelines.serve.segment_file import written_bytes
from mlops_pipelines.serve.table_record import BEGINS

IDS = "ids"
"""The folder, in that of the log, of the ids whose rows were moved out of it: `<day>.u64`, sorted
little-endian 64-bit hashes."""

READ_BYTES = 1 << 20

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def hashes(ids: Iterable[bytes]) -> Hashes:
    """The hashes (n,) of ids in UTF-8, the same in every process."""
    return np.frombuffer(b"".join([blake2b(i, digest_size=8).digest() for i in ids]), "<u8")


def known_in(index: Path, wanted: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of `wanted` (n,) the index file holds; none where there is no such file."""
    try:
        if not index.stat().st_size:
            return np.zeros(len(wanted), bool)
        # A file is replaced, never changed: what is mapped stays as it was.
        return _among(np.memmap(index, "<u8", "r"), wanted)
    except FileNotFoundError:
        return np.zeros(len(wanted), bool)


class KnownIds:
    """The ids of all predictions of a model: in the log that its workers share, or moved out of it.

    Takes 8 MB for a million rows that are in the log; what was moved out is searched on the disk.
    Each call reads only what was appended since the last one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: dict[str, _Segment] = {}
        self._lock = threading.Lock()

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` that no answered row has, each once; for a thread, as it reads files."""
        unique = list(dict.fromkeys(ids))
        wanted = hashes(each.encode() for each in unique)
        at = np.arange(len(unique))
        with self._lock:
            for segment in self._segments.values():
                at = at[~segment.known(wanted[at])]
            if len(at):
                # Rows are in an index before they leave the log, so the log is looked at first.
                self._read_on()
                for segment in self._segments.values():
                    at = at[~segment.known(wanted[at])]
        for index in sorted((self._folder / IDS).glob("*.u64"), reverse=True):
            if not len(at):
                break
            at = at[~known_in(index, wanted[at])]
        return [unique[each] for each in at]

    def _read_on(self) -> None:
        before, self._segments = self._segments, {}
        for path in self._folder.glob("*.ndjson"):
            segment = before.get(path.name, _Segment())
            try:
                if path.stat().st_size > segment.read:
                    with path.open("rb") as file:
                        segment.read_on(file)
            except FileNotFoundError:
                continue
            self._segments[path.name] = segment


class _Segment:
    """The hashes of one file's complete rows, as sorted runs; each is over twice the next."""

    def __init__(self) -> None:
        self.read = 0
        self._is_log: bool | None = None
        self._runs: list[Hashes] = []

    def known(self, wanted: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        found = np.zeros(len(wanted), bool)
        for run in self._runs:
            found |= _among(run, wanted)
        return found

    def read_on(self, file: BinaryIO) -> None:
        """Take the lines that were completed since."""
        if self._is_log is None:
            header = file.readline()
            if not header.endswith(b"\n"):
                return
            self._is_log = _kind(header) == "predictions"
            self.read = len(header)
        stop = written_bytes(file)
        if not self._is_log:
            self.read = stop
            return
        file.seek(self.read)
        rest = b""
        while block := file.read(min(READ_BYTES, max(0, stop - file.tell()))):
            lines, end, rest = (rest + block).rpartition(b"\n")
            if end:
                self._take(lines)
                self.read += len(lines) + 1

    def _take(self, lines: bytes) -> None:
        run = np.sort(hashes(_ids(lines)))
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        self._runs.append(run)


def _ids(lines: bytes) -> list[bytes]:
    """What the lines that are rows begin with, and the ids of the tables among them."""
    ids = []
    lines = b"\n" + lines
    for line in lines.split(b'\n["')[1:]:
        text = line[: line.find(b'"')]
        if b"\\" in text:
            # An id with characters that JSON escapes, perhaps the quote itself.
            row = _loads(b'["' + line.partition(b"\n")[0])
            if not isinstance(row, list) or not isinstance(row[0], str):
                continue
            text = row[0].encode()
        ids.append(text)
    for line in lines.split(b"\n" + BEGINS)[1:]:
        table = _loads(BEGINS + line.partition(b"\n")[0])
        if isinstance(table, dict):
            ids += [each.encode() for each in table["ids"] if isinstance(each, str)]
    return ids


def _among(ordered: Hashes, wanted: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if not len(ordered):
        return np.zeros(len(wanted), bool)
    at = np.searchsorted(ordered, wanted)
    found: np.ndarray[Any, np.dtype[np.bool_]] = ordered[np.minimum(at, len(ordered) - 1)] == wanted
    return found


def _kind(header: bytes) -> object:
    said = _loads(header)
    return said.get("kind") if isinstance(said, dict) else None


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
