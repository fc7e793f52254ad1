"""Which days of a model may hold a prediction: its id alone does not say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlops_pipelines.store import Store


def days_that_may_hold(
    store: Store, log_dir: Path, model: str, prediction_id: str
) -> Iterator[str]:
    """Keys in the store of the days, newest first, but those whose index knows no such id.

    The servers keep an index of ids by day beside their log; a day without one may hold any.
    """
    from mlops_pipelines.serve.known import IDS, hashes, known_in

    wanted = hashes([prediction_id.encode()])
    for key in sorted(store.keys(f"predictions/{model}"), reverse=True):
        day = key.rpartition("/")[2].removesuffix(".parquet")
        index = log_dir / IDS / f"{day}.u64"
        if not index.exists() or known_in(index, wanted)[0]:
            yield key
