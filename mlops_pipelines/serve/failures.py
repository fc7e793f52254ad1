"""What is kept of the requests that a model failed on: where it failed, and with which rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePath
from traceback import walk_tb
from types import CodeType
from typing import NamedTuple

import orjson

from mlops_pipelines.serve.ids import uuid7
from mlops_pipelines.serve.predictor import ModelError
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.segments import ErrorRow

ROWS_KEPT = 100
FRAMES_KEPT = 16
CHAIN_KEPT = 8
BYTES_KEPT = 16 * 1024 * 1024

_OURS = "mlops_pipelines.serve."


class Failure(NamedTuple):
    """How a model failed: the exception's type, and the frames it went through, innermost last.

    `digest` is of the frames (file within its package, line, function) and of the types of the
    whole chain of exceptions: it tells one failure from another, whatever the row, and is the same
    in every process that runs the same code.
    """

    kind: str
    digest: str
    frames: list[str]


def failure_of(error: ModelError) -> Failure:
    """Where and how the model failed, without any text: that of an exception may quote a row."""
    places = [
        (str(frame.f_globals.get("__name__", "")), frame.f_code, line)
        for frame, line in walk_tb(error.__cause__.__traceback__ if error.__cause__ else None)
    ]
    # How the server came to ask the model differs from path to path, and tells nothing.
    beyond = next((i for i, (name, _, _) in enumerate(places) if not name.startswith(_OURS)), 0)
    frames = [_shown(*place) for place in places[beyond:][-FRAMES_KEPT:]]
    digest = hashlib.sha256("\n".join([*_chain(error.__cause__), *frames]).encode()).hexdigest()
    return Failure(str(error)[:100], digest[:16], frames)


def error_rows(
    error: ModelError, rows: Rows, request_id: str, trace_id: str | None, failed_at: str
) -> list[ErrorRow]:
    """The rows of a failed request (n ≥ 1) as they are kept: the first hundred, under a new id."""
    kind, digest, frames = failure_of(error)
    error_id = uuid7()
    return [
        ErrorRow(
            error_id=error_id,
            request_id=request_id,
            trace_id=trace_id,
            request_row=index,
            request_rows=rows.n,
            failed_at=failed_at,
            kind=kind,
            digest=digest,
            failures=1,
            frames=frames,
            features=features,
        )
        for index, features in enumerate(rows.values[:ROWS_KEPT])
    ]


class Tally:
    """Counts a worker's failures by digest, and decides what of each goes into the log.

    No more than `most_bytes` do, and of one digest no more than a quarter, so that neither a model
    that fails on every request fills the disk, nor hides another failure. Beyond that only the
    count goes on: a line without the rows, each time it has grown by a tenth.
    """

    def __init__(self, most_bytes: int = BYTES_KEPT) -> None:
        self._left = most_bytes
        self._spare = most_bytes // 16
        self._quarter = most_bytes // 4
        self._failures: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._bytes: dict[str, int] = {}

    def lines(self, rows: Sequence[ErrorRow]) -> bytes:
        """One failed request counted: its lines for the log; empty where nothing is to be kept."""
        digest = rows[0].digest
        failures = self._failures[digest] = self._failures.get(digest, 0) + 1
        lines = b"".join(_line(row._replace(failures=failures)) for row in rows)
        taken = self._bytes.get(digest, 0) + len(lines)
        if taken > self._quarter or len(lines) > self._left - self._spare:
            if failures * 10 < self._told.get(digest, 0) * 11:
                return b""
            lines = _line(rows[0]._replace(failures=failures, features=None))
            if len(lines) > self._left:
                return b""
        else:
            self._bytes[digest] = taken
        self._left -= len(lines)
        self._told[digest] = failures
        return lines


def _line(row: ErrorRow) -> bytes:
    return orjson.dumps(tuple(row), option=orjson.OPT_APPEND_NEWLINE)


def _shown(module: str, code: CodeType, line: int) -> str:
    """`package/file.py:line function`: as far as the module's name tells, whatever the machine."""
    file = PurePath(code.co_filename).name
    folders = module.split(".")
    if file != "__init__.py":
        folders.pop()
    return f"{'/'.join([*folders, file])}:{line} {code.co_name}"


def _chain(error: BaseException | None) -> list[str]:
    """The types of an exception and of those that led to it."""
    types: list[str] = []
    while error is not None and len(types) < CHAIN_KEPT:
        types.append(f"{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return types
