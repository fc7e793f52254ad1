"""Moves answered rows from the servers' logs into one Parquet file per day."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.monitor import tables
from mlops_pipelines.monitor.ids import DayIds
from mlops_pipelines.monitor.segments import compacting, finished, set_aside
from mlops_pipelines.monitor.sound import sound_rows
from mlops_pipelines.serve.segments import Prediction, read_segments
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

_ORDER = ("predicted_at", "logged_at", "request_id", "request_row", "prediction_id")
ROWS_AT_ONCE = 20_000
"""So many rows of the log are Python objects at a time; further on they are columns."""

RETRY = 3600 * 10**6
"""Within so many µs, a row with the id of another is a request that was sent again. Longer after,
a caller uses its ids anew each day: a row of a day of its own."""

OLD_DAYS = 31
"""So many days that were compacted before there was an index get theirs in one compaction."""

_DAY = 24 * RETRY
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Compacted:
    """What one compaction did.

    `days` counts the rows now kept of each day that the log spoke of. Of the log's rows `new` were
    added and `duplicates` repeated another row; `corrupt` counts lines that are no rows.
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

    Of rows with one prediction_id the first is kept: on one day, and of a request sent again over
    midnight. Running it again changes no byte. A segment goes only once nobody writes to it, all
    its rows are in Parquet, and their ids where the servers look for them. Raises StoreError; then
    the log still has every row that is not in the store.
    """
    with compacting(log_dir):
        done = finished(log_dir)
        by_day: dict[str, list[pa.Table]] = {}
        faults: dict[Path, int] = {}
        for part in read_segments(log_dir, "predictions", ROWS_AT_ONCE):
            rows = sound_rows(part.rows)
            faults[part.path] = faults.get(part.path, 0) + part.corrupt + len(part.rows) - len(rows)
            for day, table in _tables(part.header, rows):
                by_day.setdefault(day, []).append(table)
        days, new, duplicates = {}, 0, 0
        ids = DayIds(log_dir)
        for day in sorted(by_day):
            days[day], added, repeated = _merge(store, ids, model, day, by_day.pop(day))
            new, duplicates = new + added, duplicates + repeated
        _index_old_days(store, ids, log_dir, model)
        for path, corrupt in faults.items():
            if path in done:
                set_aside(path, corrupt)
    return Compacted(days, new, duplicates, sum(faults.values()))


def day_rows(
    store: Store, model: str, day: str, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The rows of a day by `predicted_at`; none, with the log's columns, where there are none.

    All their columns, or these.
    """
    try:
        return tables.to_frame(tables.read_table(store, day_key(model, day), columns))
    except NotFoundError:
        return tables.to_frame(SCHEMA.empty_table().select(columns or SCHEMA.names))


def days(store: Store, model: str) -> list[str]:
    """The days that have rows, the newest first."""
    keys = store.keys(f"predictions/{model}")
    return sorted((key.rpartition("/")[2].removesuffix(".parquet") for key in keys), reverse=True)


def _read(log_dir: Path) -> tuple[dict[str, list[pa.Table]], dict[Path, int]]:
    """The log's rows by day, and for each segment how many of its lines are no rows."""
    by_day: dict[str, list[pa.Table]] = {}
    faults: dict[Path, int] = {}
    with _uncollected():
        for part in read_segments(log_dir, "predictions", ROWS_AT_ONCE):
            rows = sound_rows(part.rows)
            corrupt = part.corrupt + len(part.rows) - len(rows)
            faults[part.path] = faults.get(part.path, 0) + corrupt
            for day, table in _tables(part.header, rows):
                by_day.setdefault(day, []).append(table)
    return by_day, faults


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's collector of cycles, of which rows have none: it took a quarter of the time.

    What is not needed any more is freed all the same.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _merge(
    store: Store, ids: DayIds, model: str, day: str, found: Sequence[pa.Table]
) -> tuple[int, int, int]:
    """Add `found` to the day's file: rows now there, rows added, rows that repeated another."""
    key = day_key(model, day)
    logged = tables.concat(found)
    first = ~logged["prediction_id"].to_pandas().duplicated()
    repeated = len(logged) - int(first.sum())
    if repeated:
        logged = tables.take_day(logged, first.tolist())
    try:
        kept = tables.read_table(store, key)
    except NotFoundError:
        kept = None
    if kept is not None:
        known = pc.is_in(logged["prediction_id"], value_set=kept["prediction_id"].combine_chunks())
        logged = logged.filter(pc.invert(known))
    again = _over_midnight(store, ids, model, day, logged)
    if again.any():
        repeated += int(again.sum())
        logged = tables.take_day(logged, (~again).tolist())
    if not len(logged):
        if kept is not None and ids.count(day) != len(kept):
            ids.write(day, kept["prediction_id"])
        return 0 if kept is None else len(kept), 0, repeated
    both = logged if kept is None else tables.concat([kept, logged])
    both = both.sort_by([(name, "ascending") for name in _ORDER])
    added = len(logged)
    # The sorted copy is all that is needed from here on.
    del found, kept, logged, first
    tables.write_table(store, key, both)
    ids.write(day, both["prediction_id"])
    return len(both), added, repeated


def _over_midnight(
    store: Store, ids: DayIds, model: str, day: str, logged: pa.Table
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows (n,) of a day repeat one that the day before or after has within RETRY."""
    again = np.zeros(len(logged), bool)
    ordinal = date.fromisoformat(day).toordinal()
    since = logged["predicted_at"].cast(pa.int64()).to_numpy() - (ordinal - _EPOCH) * _DAY
    for other, near in ((ordinal - 1, since < RETRY), (ordinal + 1, since >= _DAY - RETRY)):
        at = np.flatnonzero(near)
        if not len(at) or not 1 <= other <= date.max.toordinal():
            continue
        neighbour = date.fromordinal(other).isoformat()
        at = at[ids.maybe(neighbour, logged["prediction_id"].take(at))]
        if not len(at):
            continue
        try:
            kept = tables.read_table(
                store, day_key(model, neighbour), ["prediction_id", "predicted_at"]
            )
        except NotFoundError:
            continue
        asked = logged.select(["prediction_id", "predicted_at"]).take(at)
        kept = kept.filter(
            pc.is_in(kept["prediction_id"], value_set=asked["prediction_id"].combine_chunks())
        )
        times = dict(zip(*(column.to_pylist() for column in _in_microseconds(kept)), strict=True))
        for place, name, time in zip(
            at, *(column.to_pylist() for column in _in_microseconds(asked)), strict=True
        ):
            again[place] |= name in times and abs(times[name] - time) <= RETRY
    return again


def _in_microseconds(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    return table["prediction_id"], table["predicted_at"].cast(pa.int64())


def _index_old_days(store: Store, ids: DayIds, log_dir: Path, model: str) -> None:
    """Index days of which there is no index yet, the newest first, not too many at once."""
    if not log_dir.is_dir():
        return
    missing = [day for day in days(store, model) if ids.count(day) < 0]
    for day in missing[:OLD_DAYS]:
        ids.write(
            day, tables.read_table(store, day_key(model, day), ["prediction_id"])["prediction_id"]
        )


def _tables(
    header: Mapping[str, Any], rows: Sequence[Prediction]
) -> Iterable[tuple[str, pa.Table]]:
    """Sound rows of a segment, by day."""
    if not rows:
        return
    by_field = dict(zip(Prediction._fields, zip(*rows, strict=True), strict=True))
    features = list(zip(*by_field["features"], strict=True))
    by_field["model_version"] = (header["model_version"],) * len(rows)
    columns = {name: _column(by_field[name], SCHEMA.field(name).type) for name in SCHEMA.names}
    for index, name in enumerate(header["columns"]):
        columns[name] = tables.array(features[index])
    table = pa.table(columns)
    of_row = [each[:10] for each in by_field["predicted_at"]]
    days = dict.fromkeys(of_row)
    for day in days:
        mine = table if len(days) == 1 else tables.take_day(table, [day == d for d in of_row])
        yield day, mine


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == tables.TIME:
        return pa.array(values, type=pa.string()).cast(kind)
    return tables.array(values, None if pa.types.is_null(kind) else kind)
