"""Joins the ground truth that arrives, early or late, to the predictions it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlops_pipelines.data_spec import Source
from mlops_pipelines.errors import DataError, NotFoundError
from mlops_pipelines.monitor import tables
from mlops_pipelines.monitor.predictions import day_key, day_rows, days
from mlops_pipelines.monitor.segments import compacting, finished, set_aside
from mlops_pipelines.serve.segments import LabelRow, read_segments
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("label", pa.null()),
        ("labelled_at", tables.TIME),
        ("received_at", tables.TIME),
    ]
)
"""The columns of a day's labels; `label` has the type of the labels."""

_ARRIVED = "received_at"


@dataclass(frozen=True)
class Collected:
    """What one collection did.

    `new` labels were joined for the first time and `changed` replaced another one; `unknown` are
    of no prediction that is in the store, and wait for it; `corrupt` counts lines that are none.
    """

    new: int
    changed: int
    unknown: int
    corrupt: int


@dataclass(frozen=True)
class Coverage:
    """How many of a day's rows have their label."""

    rows: int
    labelled: int


def labels_key(model: str, day: str) -> str:
    """Where the labels of a day's predictions (UTC, YYYY-MM-DD) lie in the store."""
    return f"labels/{model}/{day}.parquet"


def collect(store: Store, log_dir: Path, spec: ModelSpec, root: Path, folder: Path) -> Collected:
    """Join what arrived to the days of its predictions; again with nothing new changes no byte.

    Labels come from spec.monitor.labels where it is declared, else from what /feedback received.
    Of labels for one prediction the last to arrive counts. Those whose prediction is not in the
    store yet are kept and tried again each time. Raises DataError, StoreError.
    """
    source = spec.monitor.labels
    with compacting(log_dir):
        done = finished(log_dir)
        faults: dict[Path, int] = {}
        if source is None:
            arrived = _from_feedback(log_dir, faults)
        else:
            arrived = _from_source(source, root, folder)
        new, changed, unknown = _join(store, spec.name, arrived)
        for path, corrupt in faults.items():
            if path in done:
                set_aside(path, corrupt)
    return Collected(new, changed, unknown, sum(faults.values()))


def labelled_rows(store: Store, model: str, day: str) -> pd.DataFrame:
    """The rows of `day_rows` whose label is known, with `label` and `labelled_at` beside."""
    labels = tables.to_frame(_read(store, labels_key(model, day))).drop(columns=_ARRIVED)
    return day_rows(store, model, day).merge(labels, on="prediction_id", how="inner")


def coverage(store: Store, model: str, day: str) -> Coverage:
    """How far the labels of a day are in."""
    try:
        rows = len(tables.read_table(store, day_key(model, day), ["prediction_id"]))
    except NotFoundError:
        rows = 0
    return Coverage(rows, len(_read(store, labels_key(model, day))))


def _from_feedback(log_dir: Path, faults: dict[Path, int]) -> pa.Table:
    rows: list[LabelRow] = []
    for segment in read_segments(log_dir, "labels"):
        sound = [row for row in segment.rows if _sound(row)]
        faults[segment.path] = segment.corrupt + len(segment.rows) - len(sound)
        rows += sound
    return _table(
        [row.prediction_id for row in rows],
        [row.label for row in rows],
        [row.labelled_at for row in rows],
        [row.received_at for row in rows],
    )


def _sound(row: LabelRow) -> bool:
    return (
        type(row.prediction_id) is str
        and type(row.label) in (str, int, float, bool)
        and (row.labelled_at is None or tables.is_time(row.labelled_at))
        and tables.is_time(row.received_at)
    )


def _from_source(source: Source, root: Path, folder: Path) -> pa.Table:
    from mlops_pipelines.train.columns import as_times
    from mlops_pipelines.train.source import describe, load_rows

    frame = load_rows(source, root, folder)
    missing = [name for name in ("prediction_id", "label") if name not in frame.columns]
    if missing:
        raise DataError(
            f"monitor.labels: {describe(source)} has no column {' and '.join(missing)} "
            f"among its {len(frame.columns)}; prediction_id and label are needed"
        )
    frame = frame[frame["prediction_id"].notna() & frame["label"].notna()]
    times = [None] * len(frame)
    if "labelled_at" in frame.columns:
        read = as_times(frame["labelled_at"], "monitor.labels: labelled_at")
        times = [None if pd.isna(time) else time.isoformat() for time in read]
    ids = [str(each) for each in frame["prediction_id"].astype(object).tolist()]
    return _table(ids, frame["label"].astype(object).tolist(), times, times)


def _table(
    ids: Sequence[str],
    labels: Sequence[object],
    labelled_at: Sequence[str | None],
    received_at: Sequence[str | None],
) -> pa.Table:
    times = (
        pa.array(each, type=pa.string()).cast(tables.TIME) for each in (labelled_at, received_at)
    )
    columns = [pa.array(ids, type=pa.string()), tables.array(labels), *times]
    return pa.table(columns, names=SCHEMA.names)


def _join(store: Store, model: str, arrived: pa.Table) -> tuple[int, int, int]:
    """Put each label to its day, the rest to the waiting ones: new, changed, still unknown."""
    waiting_key = labels_key(model, "waiting")
    before = _read(store, waiting_key)
    waiting = _last(tables.concat([before, arrived]))
    new = changed = 0
    for day in days(store, model):
        if not len(waiting):
            break
        ids = tables.read_table(store, day_key(model, day), ["prediction_id"])["prediction_id"]
        here = pc.is_in(waiting["prediction_id"], value_set=ids.combine_chunks())
        found, waiting = waiting.filter(here), waiting.filter(pc.invert(here))
        if len(found):
            key = labels_key(model, day)
            kept = _read(store, key)
            merged = _last(tables.concat([kept, found]))
            new += len(merged) - len(kept)
            if not merged.equals(kept):
                changed += _changed(kept, merged)
                tables.write_table(store, key, merged)
    if not waiting.equals(before):
        tables.write_table(store, waiting_key, waiting)
    return new, changed, len(waiting)


def _last(table: pa.Table) -> pa.Table:
    """One label per prediction: the last to arrive, without a time later than any with one."""
    frame = pd.DataFrame(
        {
            "prediction_id": table["prediction_id"].to_pandas(),
            "arrived": table[_ARRIVED].to_pandas(),
        }
    )
    frame = frame.sort_values("arrived", kind="stable", na_position="last")
    last = frame.drop_duplicates("prediction_id", keep="last").sort_values("prediction_id")
    return table.take(pa.array(last.index.to_numpy(), type=pa.int64())).combine_chunks()


def _changed(kept: pa.Table, merged: pa.Table) -> int:
    """How many of the kept labels are other ones in `merged`."""
    was = dict(zip(kept["prediction_id"].to_pylist(), kept["label"].to_pylist(), strict=True))
    now = zip(merged["prediction_id"].to_pylist(), merged["label"].to_pylist(), strict=True)
    return sum(1 for each, label in now if each in was and was[each] != label)


def _read(store: Store, key: str) -> pa.Table:
    try:
        return tables.read_table(store, key)
    except NotFoundError:
        return SCHEMA.empty_table()
