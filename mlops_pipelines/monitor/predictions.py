"""Moves answered rows from the servers' logs into one Parquet file per day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.monitor import tables
from mlops_pipelines.monitor.segments import compacting, finished, set_aside
from mlops_pipelines.serve.segments import Prediction, Segment, read_segments
from mlops_pipelines.store import Store

SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("request_id", pa.string()),
        ("request_row", pa.int64()),
        ("predicted_at", tables.TIME),
        ("logged_at", tables.TIME),
        ("model_version", pa.int64()),
        ("prediction", pa.null()),
        ("score", pa.float64()),
        ("probabilities", pa.list_(pa.float64())),
        ("latency_ms", pa.float64()),
    ]
)
"""The columns of a day, before the features; `prediction` has the type of the labels."""

_WHOLE = 2**53  # integers beyond are not all doubles
_ORDER = ("predicted_at", "logged_at", "request_id", "request_row", "prediction_id")


@dataclass(frozen=True)
class Compacted:
    """What one compaction did.

    `days` counts the rows now kept of each day that the log spoke of. Of the log's rows `new` were
    added and `duplicates` repeated another row of the log; `corrupt` counts lines that are no rows.
    """

    days: dict[str, int] = field(default_factory=dict)
    new: int = 0
    duplicates: int = 0
    corrupt: int = 0


def day_key(model: str, day: str) -> str:
    """Where the rows of a day (UTC, YYYY-MM-DD) lie in the store."""
    return f"predictions/{model}/{day}.parquet"


def compact(store: Store, log_dir: Path, model: str) -> Compacted:
    """Add the log's complete rows to the days of their `predicted_at` (UTC).

    Of rows with one prediction_id on one day the first is kept. Running it again changes no byte.
    A segment goes only once nobody writes to it and all its rows are in Parquet. Raises StoreError;
    then the log still has every row that is not in the store.
    """
    with compacting(log_dir):
        done = finished(log_dir)
        by_day: dict[str, list[pa.Table]] = {}
        faults: dict[Path, int] = {}
        for segment in read_segments(log_dir, "predictions"):
            rows = [row for row in segment.rows if _sound(row)]
            faults[segment.path] = segment.corrupt + len(segment.rows) - len(rows)
            for day, table in _tables(segment, rows):
                by_day.setdefault(day, []).append(table)
        days, new, duplicates = {}, 0, 0
        for day in sorted(by_day):
            days[day], added, repeated = _merge(store, day_key(model, day), by_day.pop(day))
            new, duplicates = new + added, duplicates + repeated
        for path, corrupt in faults.items():
            if path in done:
                set_aside(path, corrupt)
    return Compacted(days, new, duplicates, sum(faults.values()))


def day_rows(store: Store, model: str, day: str) -> pd.DataFrame:
    """The rows of a day by `predicted_at`; none, with the log's columns, where there are none."""
    try:
        return tables.to_frame(tables.read_table(store, day_key(model, day)))
    except NotFoundError:
        return tables.to_frame(SCHEMA.empty_table())


def days(store: Store, model: str) -> list[str]:
    """The days that have rows, the newest first."""
    keys = store.keys(f"predictions/{model}")
    return sorted((key.rpartition("/")[2].removesuffix(".parquet") for key in keys), reverse=True)


def _merge(store: Store, key: str, found: Sequence[pa.Table]) -> tuple[int, int, int]:
    """Add `found` to the file at `key`: rows now there, rows added, rows repeated in the log."""
    logged = tables.concat(found)
    first = ~logged["prediction_id"].to_pandas().duplicated()
    repeated = len(logged) - int(first.sum())
    logged = tables.take_day(logged, first.tolist())
    try:
        kept = tables.read_table(store, key)
    except NotFoundError:
        kept = None
    if kept is not None:
        known = pc.is_in(logged["prediction_id"], value_set=kept["prediction_id"].combine_chunks())
        logged = logged.filter(pc.invert(known))
        if not len(logged):
            return len(kept), 0, repeated
    both = logged if kept is None else tables.concat([kept, logged])
    both = both.sort_by([(name, "ascending") for name in _ORDER])
    tables.write_table(store, key, both)
    return len(both), len(logged), repeated


def _tables(
    segment: Segment[Prediction], rows: Sequence[Prediction]
) -> Iterable[tuple[str, pa.Table]]:
    """The sound rows of a segment, by day."""
    if not rows:
        return
    days = pd.Series([row.predicted_at[:10] for row in rows])
    by_field = dict(zip(Prediction._fields, zip(*rows, strict=True), strict=True))
    by_field["model_version"] = (segment.header["model_version"],) * len(rows)
    columns = {name: _column(by_field[name], SCHEMA.field(name).type) for name in SCHEMA.names}
    for index, name in enumerate(segment.header["columns"]):
        columns[name] = tables.array([row.features[index] for row in rows])
    table = pa.table(columns)
    for day in days.unique():
        yield day, tables.take_day(table, (days == day).tolist())


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == tables.TIME:
        return pa.array(values, type=pa.string()).cast(kind)
    return tables.array(values, None if pa.types.is_null(kind) else kind)


def _sound(row: Prediction) -> bool:
    """Whether every field but the features has its type; the reader has looked at the shape."""
    return (
        type(row.prediction_id) is str
        and type(row.request_id) is str
        and type(row.request_row) is int
        and 0 <= row.request_row <= _WHOLE
        and tables.is_time(row.predicted_at)
        and tables.is_time(row.logged_at)
        and type(row.prediction) in (str, int, float, bool)
        and (row.score is None or _is_number(row.score))
        and (
            row.probabilities is None
            or (type(row.probabilities) is list and all(map(_is_number, row.probabilities)))
        )
        and _is_number(row.latency_ms)
    )


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= _WHOLE)
