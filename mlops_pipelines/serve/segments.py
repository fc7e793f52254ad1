"""The prediction log as it lies on disk: what a segment holds, and its reader.

A segment is a file of JSON lines that one worker appends to: a header, then one array per row, or
one object for all rows of a large request (see table_record.py). While it is written to, and after
a crash, zeros may follow them (see segment_file.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, NamedTuple, TypeVar, overload

import orjson

from mlops_pipelines.serve.segment_file import written_bytes
from mlops_pipelines.serve.table_record import rows_of

SCHEMA = 2
# The first knew no tables.
SCHEMAS = (1, SCHEMA)

Kind = Literal["predictions", "labels", "errors"]

logger = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """One answered row. Times are RFC 3339 in UTC; `features` are in the header's order.

    `predicted_at` is the time that the request is about, `logged_at` the time it was answered.
    """

    prediction_id: str
    request_id: str
    request_row: int
    predicted_at: str
    logged_at: str
    prediction: Any
    score: float | None
    probabilities: list[float] | None
    latency_ms: float
    features: list[Any]


class LabelRow(NamedTuple):
    """The ground truth of one prediction; `labelled_at` is None where the caller gave no time."""

    prediction_id: str
    label: Any
    labelled_at: str | None
    received_at: str


class ErrorRow(NamedTuple):
    """One row of a request that the model could not answer; all rows of one share an `error_id`.

    `failures` is how often this worker's model had failed with this digest by then. `frames` are
    the traceback's, the innermost last, without any text. `features` is None where no rows of the
    request are kept; `request_rows` says how many it had, kept or not.
    """

    error_id: str
    request_id: str
    trace_id: str | None
    request_row: int
    request_rows: int
    failed_at: str
    kind: str
    digest: str
    failures: int
    frames: list[str]
    features: list[Any] | None


Row = TypeVar("Row", Prediction, LabelRow, ErrorRow)

_ROWS: dict[str, type[Any]] = {"predictions": Prediction, "labels": LabelRow, "errors": ErrorRow}


@dataclass(frozen=True)
class Segment(Generic[Row]):
    """Complete rows of one file; `corrupt` counts the lines among them that are not rows."""

    path: Path
    header: dict[str, Any]
    rows: list[Row]
    corrupt: int


@overload
def read_segments(
    log_dir: Path, kind: Literal["predictions"], most_rows: int | None = None
) -> Iterator[Segment[Prediction]]: ...
@overload
def read_segments(
    log_dir: Path, kind: Literal["labels"], most_rows: int | None = None
) -> Iterator[Segment[LabelRow]]: ...
@overload
def read_segments(
    log_dir: Path, kind: Literal["errors"], most_rows: int | None = None
) -> Iterator[Segment[ErrorRow]]: ...


def read_segments(
    log_dir: Path, kind: Kind, most_rows: int | None = None
) -> Iterator[Segment[Any]]:
    """Every segment of this kind in the folder, by name; workers may be writing meanwhile.

    A last line without its end was cut off by a crash, or is still being written: it was never
    acknowledged and is left out. A segment whose header is unreadable is left out with a warning.
    With `most_rows` a segment comes in parts of at most so many rows, at least one part.
    """
    for path in sorted(log_dir.glob("*.ndjson")):
        try:
            with path.open("rb") as file:
                lines = complete_lines(file)
                header = _header(path, next(lines, b""))
                if header is not None and header.get("kind") == kind:
                    yield from _parts(path, header, lines, most_rows)
        except FileNotFoundError:
            continue


def complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a segment, opened at its beginning, up to the first without an end."""
    left = written_bytes(file)
    while (line := file.readline(left)).endswith(b"\n"):
        left -= len(line)
        yield line


def _header(path: Path, line: bytes) -> dict[str, Any] | None:
    if not line:
        return None
    header = _loads(line)
    if not isinstance(header, dict) or header.get("schema") not in SCHEMAS:
        logger.warning("%s: the header is unreadable; the segment is left out", path)
        return None
    return header


def _parts(
    path: Path, header: dict[str, Any], lines: Iterator[bytes], most_rows: int | None
) -> Iterator[Segment[Any]]:
    row_type = _ROWS[header["kind"]]
    fields, make = len(row_type._fields), row_type._make
    width = None if row_type is LabelRow else len(header["columns"])
    optional = row_type is ErrorRow
    rows: list[Any] = []
    corrupt = parts = 0
    for line in lines:
        found = _loads(line)
        table = None
        if type(found) is dict and width and row_type is Prediction:
            table = rows_of(found, width)
        if table is not None:
            rows.extend(map(make, table))
        elif (
            type(found) is list
            and len(found) == fields
            and (
                width is None
                or (type(found[-1]) is list and len(found[-1]) == width)
                or (optional and found[-1] is None)
            )
        ):
            rows.append(make(found))
        else:
            corrupt += 1
        while most_rows is not None and len(rows) >= most_rows:
            yield Segment(path, header, rows[:most_rows], corrupt)
            rows, corrupt, parts = rows[most_rows:], 0, parts + 1
    if rows or corrupt or not parts:
        yield Segment(path, header, rows, corrupt)


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
