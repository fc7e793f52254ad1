"""A bounded, seeded part of a day's rows, for what people read and what works row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.monitor import tables
from mlops_pipelines.monitor.predictions import day_key, day_rows
from mlops_pipelines.store import Store

MOST = 100_000
"""Rows of a sample: more than a page, a suite of expectations or an estimate needs."""

_SEED = 0


@dataclass(frozen=True)
class DaySample:
    """At most so many of the `rows` that `version` answered; `versions` counts those of each.

    Where not all are in it, each prediction has the share in `frame` that it has among all rows.
    """

    version: int | None
    rows: int
    versions: Mapping[int, int]
    frame: pd.DataFrame


def day_sample(
    store: Store, model: str, day: str, champion: int | None, most: int = MOST
) -> DaySample:
    """The rows of the version that the day is judged by: the champion, or else the busiest.

    The same rows give the same sample. Memory holds two columns of the day and the sample.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(store.read_bytes(day_key(model, day))))
    except NotFoundError:
        return DaySample(None, 0, {}, day_rows(store, model, day))
    found = file.read(columns=["model_version", "prediction"])
    counted = pc.value_counts(found["model_version"]).to_pylist()
    versions = {int(each["values"]): int(each["counts"]) for each in counted}
    if not versions:
        return DaySample(None, 0, {}, day_rows(store, model, day))
    busiest = max(versions, key=lambda version: (versions[version], version))
    version = champion if champion in versions else busiest
    places = np.flatnonzero(found["model_version"].to_numpy() == version)
    if len(places) > most:
        places = _stratified(places, found["prediction"].take(places), most)
    parts, start = [], 0
    for batch in file.iter_batches():
        inside = places[(places >= start) & (places < start + len(batch))] - start
        parts.append(pa.Table.from_batches([batch.take(inside)]))
        start += len(batch)
    frame = tables.to_frame(pa.concat_tables(parts))
    return DaySample(version, versions[version], versions, frame)


def _stratified(places: np.ndarray, predictions: pa.ChunkedArray, most: int) -> np.ndarray:
    """Seeded places, in order, each prediction with its share; numbers are one stratum."""
    random = np.random.default_rng(_SEED)
    if pa.types.is_floating(predictions.type):
        return np.sort(random.choice(places, most, replace=False))
    strata = predictions.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = random.permutation(len(places))
    order = order[np.argsort(strata[order], kind="stable")]
    # Every n-th of the rows in order of their stratum: within each, they are shuffled.
    taken = np.linspace(0, len(order), most, endpoint=False).astype(np.int64)
    return np.sort(places[order[taken]])
