"""The prediction log as it lies on disk: what a segment holds, and its reader.

A segment is a file of JSON lines that one worker appends to: a header, then one array per row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

import orjson

SCHEMA = 1

Kind = Literal["predictions", "labels"]

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


Row = TypeVar("Row", Prediction, LabelRow)


@dataclass(frozen=True)
class Segment(Generic[Row]):
    """The complete rows of one file; `corrupt` counts the lines among them that are not rows."""

    path: Path
    header: dict[str, Any]
    rows: list[Row]
    corrupt: int


@overload
def read_segments(log_dir: Path, kind: Literal["predictions"]) -> Iterator[Segment[Prediction]]: ...
@overload
def read_segments(log_dir: Path, kind: Literal["labels"]) -> Iterator[Segment[LabelRow]]: ...


def read_segments(log_dir: Path, kind: Kind) -> Iterator[Segment[Any]]:
    """Every segment of this kind in the folder, by name; workers may be writing meanwhile.

    A last line without its end was cut off by a crash, or is still being written: it was never
    acknowledged and is left out. A segment whose header is unreadable is left out with a warning.
    """
    row_type: type[Any] = Prediction if kind == "predictions" else LabelRow
    for path in sorted(log_dir.glob("*.ndjson")):
        try:
            first, *lines = path.read_bytes().split(b"\n")[:-1] or [b""]
        except FileNotFoundError:
            continue
        if not first:
            continue
        header = _loads(first)
        if not isinstance(header, dict) or header.get("schema") != SCHEMA:
            logger.warning("%s: the header is unreadable; the segment is left out", path)
            continue
        if header.get("kind") != kind:
            continue
        width = len(header["columns"]) if kind == "predictions" else None
        rows = []
        for line in lines:
            fields = _loads(line)
            if _is_row(fields, row_type, width):
                rows.append(row_type._make(fields))
        yield Segment(path, header, rows, len(lines) - len(rows))


def _is_row(fields: Any, row_type: type[Any], width: int | None) -> bool:
    if not isinstance(fields, list) or len(fields) != len(row_type._fields):
        return False
    return width is None or (isinstance(fields[-1], list) and len(fields[-1]) == width)


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
