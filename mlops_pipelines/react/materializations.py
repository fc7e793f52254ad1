"""Reads materializations from Dagster's event log, each once, by a cursor of record ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterInstance

from mlops_pipelines.keys import value
from mlops_pipelines.react.evaluations import HISTORY, Cursor


@dataclass(frozen=True)
class Materialized:
    """One materialization, as plain values."""

    model: str
    asset: str
    partition: str | None
    action: str
    reason: str


def new_materializations(
    instance: DagsterInstance, keys: Sequence[dg.AssetKey], cursor: Cursor
) -> Iterator[Materialized]:
    """Those of `keys` since `cursor`, oldest first for each key; moves `cursor` past them."""
    for found in instance.get_asset_records(list(keys)):
        key, newest = found.asset_entry.asset_key, found.asset_entry.last_materialization_record
        seen = cursor.get(key.to_user_string(), 0)
        if newest is None or newest.storage_id <= seen:
            continue
        since = dg.AssetRecordsFilter(asset_key=key, after_storage_id=seen)
        cursor[key.to_user_string()] = newest.storage_id
        for each in instance.fetch_materializations(since, HISTORY, ascending=True).records:
            said = each.asset_materialization
            if said is not None:
                yield Materialized(
                    model=key.path[0],
                    asset=key.path[-1],
                    partition=said.partition,
                    action=str(value(said.metadata, "action") or ""),
                    reason=str(value(said.metadata, "reason") or ""),
                )
