"""Rows that were asked and answered in production, read back to be asked again."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlops_pipelines.errors import StoreError
from mlops_pipelines.serve.segments import Prediction, read_segments
from mlops_pipelines.store import Store

ROWS_AT_ONCE = 20_000
"""So many rows of a segment are Python objects at a time."""

_KEPT = frozenset(Prediction._fields) - {"features"} | {"model_version"}


@dataclass(frozen=True)
class Logged:
    """A row that `version` answered, and how; `latency_ms` is that of its whole request.

    `predicted_at` is the time that it is about, `logged_at` the time it was answered. `features`
    are those that this version takes, by name, None for null.
    """

    prediction_id: str
    version: int
    predicted_at: datetime
    logged_at: datetime
    prediction: Any
    score: float | None
    latency_ms: float
    features: Mapping[str, Any]


def last_logged(store: Store, log_dir: Path, model: str, most: int) -> tuple[Logged, ...]:
    """The last `most` rows that any version of `model` answered, by the time they are about.

    They come from the store's days and from what is not compacted yet; each counts once. Raises
    StoreError.
    """
    if most < 1:
        return ()
    fresh = heapq.nlargest(most, _in_log(log_dir), key=_when)
    found = {row.prediction_id: row for row in _in_store(store, model, most)}
    found |= {row.prediction_id: row for row in fresh}
    return tuple(sorted(found.values(), key=_when)[-most:])


def logged_since(log_dir: Path, version: int, since: datetime, most: int) -> tuple[Logged, ...]:
    """The last `most` rows that `version` answered since then and that are not compacted yet."""
    rows = (row for row in _in_log(log_dir) if row.version == version and row.logged_at >= since)
    return tuple(sorted(heapq.nlargest(most, rows, key=_when), key=_when))


def _when(row: Logged) -> tuple[datetime, str]:
    return row.predicted_at, row.prediction_id


def _in_log(log_dir: Path) -> Iterator[Logged]:
    for part in read_segments(log_dir, "predictions", ROWS_AT_ONCE):
        names, version = part.header["columns"], part.header["model_version"]
        for row in part.rows:
            try:
                about = datetime.fromisoformat(row.predicted_at)
                logged = datetime.fromisoformat(row.logged_at)
            except (TypeError, ValueError):
                continue  # no sound row: compaction sets it aside
            features = dict(zip(names, row.features, strict=True))
            yield Logged(
                row.prediction_id,
                version,
                about,
                logged,
                row.prediction,
                row.score,
                row.latency_ms,
                features,
            )


def _in_store(store: Store, model: str, most: int) -> list[Logged]:
    found: list[Logged] = []
    for key in sorted(store.keys(f"predictions/{model}"), reverse=True):
        if len(found) >= most:
            break
        for table in _from_its_end(store, key):
            found.extend(_rows(table.slice(max(0, len(table) - (most - len(found))))))
            if len(found) >= most:
                break
    return found


def _from_its_end(store: Store, key: str) -> Iterator[pa.Table]:
    """The row groups of a day, which is sorted by time, the last one first."""
    try:
        day = pq.ParquetFile(pa.BufferReader(store.read_bytes(key)))
        for group in reversed(range(day.num_row_groups)):
            yield day.read_row_group(group)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"store {store.shown}: {key} is not Parquet: {reason}") from error


def _rows(table: pa.Table) -> Iterable[Logged]:
    """Of a day with several versions, each row keeps the columns that its own version fills."""
    names = [name for name in table.column_names if name not in _KEPT]
    rows = table.to_pylist()
    filled: dict[int, set[str]] = {}
    for row in rows:
        filled.setdefault(row["model_version"], set()).update(
            name for name in names if row[name] is not None
        )
    for row in rows:
        version = row["model_version"]
        yield Logged(
            row["prediction_id"],
            version,
            row["predicted_at"].astimezone(UTC),
            row["logged_at"].astimezone(UTC),
            row["prediction"],
            row["score"],
            row["latency_ms"],
            {name: row[name] for name in names if name in filled[version]},
        )
