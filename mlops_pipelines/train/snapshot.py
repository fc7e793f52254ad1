"""Training data frozen as Parquet, named by the hash of its content, and split for good."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError, NotFoundError
from mlops_pipelines.measure import profile
from mlops_pipelines.spec import RESERVED_COLUMNS, ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.columns import Column, as_times, select, typed
from mlops_pipelines.train.content import content_digest, row_hashes
from mlops_pipelines.train.target import (
    Label,
    Target,
    check_split,
    check_target,
    whole_classes,
)

__all__ = [
    "Column",
    "Snapshot",
    "SnapshotRows",
    "features",
    "freeze",
    "load_snapshot",
    "profile_columns",
    "read_rows",
    "recompute_digest",
]

HOLDOUT = "mlops.holdout"
"""The column of data.parquet that says on which side of the split a row lies."""


@dataclass(frozen=True)
class Snapshot:
    """What is known of frozen rows; the rows themselves lie in the store under `key`.

    `columns` are the features in order; `digest` is a SHA-256 over the rows in their order and
    over what the declaration says of them; `class_counts` counts all rows by class.
    """

    model: str
    digest: str
    key: str
    rows: int
    train_rows: int
    holdout_rows: int
    columns: tuple[Column, ...]
    target: str
    task: str
    classes: tuple[Label, ...] | None
    positive: Label | None
    event_time: str | None
    segments: tuple[str, ...]
    first_time: str | None
    last_time: str | None
    source: str
    class_counts: dict[str, int] | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON value; `from_json` reads it back."""
        return {"schema": 1, **asdict(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Snapshot:
        """The snapshot that `to_json` wrote down."""
        fields = {name: field for name, field in value.items() if name != "schema"}
        fields["columns"] = tuple(Column(**column) for column in fields["columns"])
        fields["segments"] = tuple(fields["segments"])
        fields["classes"] = None if fields["classes"] is None else tuple(fields["classes"])
        return cls(**fields)


@dataclass(frozen=True)
class SnapshotRows:
    """The two sides of a snapshot, with all columns, in the order of the source, typed."""

    train: pd.DataFrame
    holdout: pd.DataFrame

    @property
    def all(self) -> pd.DataFrame:
        """Both sides, the training rows first."""
        return pd.concat([self.train, self.holdout], ignore_index=True)


def freeze(frame: pd.DataFrame, spec: ModelSpec, store: Store, source: str) -> Snapshot:
    """Check `frame` against the declaration, split it, and keep it in `store`.

    The same rows under the same declaration give the same digest, and nothing is written again.
    With `event_time` the last share of rows by time is the holdout (rows of one time stay
    together). Else a row's side follows from a seeded hash of its content: it keeps its side when
    other rows come and go, so that no row which an older version was trained on is ever in a newer
    version's holdout, and identical rows share a side. Columns in `drop` are kept, since an older
    version may have seen them; the model does not. Raises DataError, StoreError.
    """
    _check_names(frame, spec)
    kept, kinds = _typed_frame(frame, spec)
    target = check_target(kept[spec.data.target], kinds[spec.data.target], spec)
    columns = _features(kept, kinds, spec)
    holdout = _holdout(kept, spec)
    check_split(kept[spec.data.target], holdout, spec)
    return _write(kept, holdout, columns, target, spec, store, source)


def load_snapshot(store: Store, model: str, digest: str) -> Snapshot:
    """The snapshot that `freeze` wrote; raises NotFoundError."""
    key = _key(model, digest)
    try:
        return Snapshot.from_json(store.read_json(f"{key}/snapshot.json"))
    except NotFoundError as error:
        raise NotFoundError(
            f"{model}: there is no snapshot {digest[:12]} in the store {store.shown}"
        ) from error


def read_rows(store: Store, snapshot: Snapshot) -> SnapshotRows:
    """The rows of `snapshot`; each side counts its index from 0."""
    frame, holdout = _read(store, snapshot)
    return SnapshotRows(
        frame[~holdout].reset_index(drop=True), frame[holdout].reset_index(drop=True)
    )


def features(frame: pd.DataFrame, columns: Snapshot | Sequence[Column]) -> pd.DataFrame:
    """The model's columns of `frame`, in their order and dtype; see `columns.select`."""
    return select(frame, columns.columns if isinstance(columns, Snapshot) else columns)


def profile_columns(snapshot: Snapshot) -> tuple[profile.Column, ...]:
    """The features as `measure.profile` watches them: numbers in bins, all else by level."""
    return tuple(
        profile.Column(
            column.name,
            "numeric"
            if column.type in ("double", "long") and column.name not in snapshot.segments
            else "categorical",
        )
        for column in snapshot.columns
    )


def recompute_digest(store: Store, snapshot: Snapshot) -> str:
    """The digest of the rows that lie in the store now; it is `snapshot.digest` if all is well."""
    frame, holdout = _read(store, snapshot)
    return content_digest(frame.assign(**{HOLDOUT: holdout}), _about(snapshot))


def _read(store: Store, snapshot: Snapshot) -> tuple[pd.DataFrame, np.ndarray]:
    frame = store.read_frame(f"{snapshot.key}/data.parquet")
    holdout = frame.pop(HOLDOUT).to_numpy(dtype=bool)
    return pd.DataFrame({name: typed(frame[name], name)[0] for name in frame}), holdout


def _check_names(frame: pd.DataFrame, spec: ModelSpec) -> None:
    data = spec.data
    if frame.empty:
        raise DataError(f"{spec.name}: data.source gave no rows; at least some were expected")
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{spec.name}: the rows have column {', '.join(twice)} more than once")
    named = {
        "data.target": (data.target,),
        "data.event_time": (data.event_time,) if data.event_time else (),
        "data.segments": data.segments,
        "data.features": data.features or (),
        "data.drop": data.drop,
    }
    for field, wanted in named.items():
        for name in wanted:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
                raise DataError(
                    f"{spec.name}: {field} names {name!r}, and the rows have no such column; "
                    f"{hint}there are: {shown}"
                )


def _typed_frame(frame: pd.DataFrame, spec: ModelSpec) -> tuple[pd.DataFrame, dict[str, str]]:
    kept: dict[str, pd.Series] = {}
    kinds: dict[str, str] = {}
    data = spec.data
    for place, label in enumerate(frame.columns):
        name, values = str(label), frame.iloc[:, place].reset_index(drop=True)
        where = f"{spec.name}: column {name!r}"
        if name == data.event_time:
            times = as_times(values, where)
            nulls = int(times.isna().sum())
            if nulls:
                raise DataError(
                    f"{where} is data.event_time and has {nulls} nulls in {len(times)} rows; "
                    "every row needs its time"
                )
            kept[name], kinds[name] = times, "time"
            continue
        try:
            kept[name], kinds[name] = typed(values, where)
            if name == data.target:
                kept[name], kinds[name] = whole_classes(kept[name], kinds[name], spec.task)
        except DataError:
            # What neither the model nor the split looks at need not be storable.
            unseen = name in data.drop or (data.features is not None and name not in data.features)
            if not unseen or name == data.target or name in data.segments:
                raise
    return pd.DataFrame(kept), kinds


def _features(frame: pd.DataFrame, kinds: dict[str, str], spec: ModelSpec) -> tuple[Column, ...]:
    data = spec.data
    hidden = {data.target, data.event_time, *data.drop}
    names = [name for name in (data.features or map(str, frame.columns)) if name not in hidden]
    if not names:
        raise DataError(f"{spec.name}: no column is left for the model besides the target")
    columns = []
    for name in names:
        where, values = f"{spec.name}: column {name!r}", frame[name]
        if name in RESERVED_COLUMNS or name == HOLDOUT:
            raise DataError(
                f"{where} has a name that the prediction log uses for itself; "
                "rename it in the source, or name it in data.drop"
            )
        if kinds[name] == "time":
            raise DataError(
                f"{where} holds times, which no model takes; name it as data.event_time or in "
                "data.drop, or turn it into numbers in the source"
            )
        nulls = int(values.isna().sum())
        if nulls == len(values):
            raise DataError(f"{where} is null in all {nulls} rows; name it in data.drop")
        if kinds[name] == "double" and np.isinf(values.to_numpy(dtype=float)).any():
            infinite = int(np.isinf(values.to_numpy(dtype=float)).sum())
            raise DataError(
                f"{where} has {infinite} infinite values; replace them by nulls in the source"
            )
        columns.append(Column(name, kinds[name], nulls > 0))  # type: ignore[arg-type]
    return tuple(columns)


def _holdout(frame: pd.DataFrame, spec: ModelSpec) -> np.ndarray:
    data = spec.data
    if data.event_time is None:
        share = row_hashes(frame, data.split.seed).astype(np.float64) / 2.0**64
        return np.asarray(share < data.split.holdout)
    times = frame[data.event_time]
    wanted = max(1, round(len(times) * data.split.holdout))
    cut = times.sort_values(ignore_index=True).iloc[len(times) - wanted]
    holdout = (times >= cut).to_numpy()
    return holdout if not holdout.all() else (times > cut).to_numpy()


def _write(
    frame: pd.DataFrame,
    holdout: np.ndarray,
    columns: tuple[Column, ...],
    target: Target,
    spec: ModelSpec,
    store: Store,
    source: str,
) -> Snapshot:
    times = frame[spec.data.event_time] if spec.data.event_time else None
    unnamed = Snapshot(
        model=spec.name,
        digest="",
        key="",
        rows=len(frame),
        train_rows=int((~holdout).sum()),
        holdout_rows=int(holdout.sum()),
        columns=columns,
        target=spec.data.target,
        task=spec.task,
        classes=target.classes,
        positive=target.positive,
        event_time=spec.data.event_time,
        segments=spec.data.segments,
        first_time=None if times is None else times.min().isoformat(),
        last_time=None if times is None else times.max().isoformat(),
        source=source,
        class_counts=target.counts,
    )
    split = frame.assign(**{HOLDOUT: holdout})
    digest = content_digest(split, _about(unnamed))
    key = _key(spec.name, digest)
    if store.exists(f"{key}/snapshot.json"):
        return load_snapshot(store, spec.name, digest)
    snapshot = Snapshot(**{**_fields(unnamed), "digest": digest, "key": key})
    store.write_frame(f"{key}/data.parquet", split)
    # Written last: a snapshot without it was interrupted, and is written again.
    store.write_json(f"{key}/snapshot.json", snapshot.to_json())
    return snapshot


def _fields(snapshot: Snapshot) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in Snapshot.__dataclass_fields__}


def _about(snapshot: Snapshot) -> dict[str, Any]:
    """What the digest covers besides the rows: all but the digest itself and where rows are."""
    hidden = ("digest", "key", "source")
    return {name: value for name, value in snapshot.to_json().items() if name not in hidden}


def _key(model: str, digest: str) -> str:
    return f"snapshots/{model}/{digest}"
