"""Reads check evaluations from Dagster's event log, each once, by a cursor of record ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import DagsterInstance
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
)

from mlops_pipelines.keys import value

Cursor = dict[str, int]

HISTORY = 400
"""Evaluations of one check looked back on at most: a backfill of a year fits."""


@dataclass(frozen=True)
class Evaluation:
    """One finished check evaluation, as plain values."""

    check: dg.AssetCheckKey
    partition: str | None
    passed: bool
    description: str
    metadata: Mapping[str, Any]
    run_id: str
    blocking: bool

    @property
    def model(self) -> str:
        """The model whose asset was checked."""
        return self.check.asset_key.path[0]

    @property
    def status(self) -> str:
        """ok, alarm or insufficient_data."""
        return str(self.metadata.get("status") or ("ok" if self.passed else "alarm"))


def new_evaluations(
    instance: DagsterInstance, checks: Sequence[dg.AssetCheckKey], cursor: Cursor
) -> Iterator[Evaluation]:
    """Evaluations since `cursor`, oldest first for each check; moves `cursor` past them.

    Those of a run that is still under way are left for later, so that what a night found out is
    seen whole.
    """
    storage = instance.event_log_storage
    latest = storage.get_latest_asset_check_execution_by_key(list(checks))
    running: dict[str, bool] = {}
    for check, newest in sorted(latest.items()):
        name = check.to_user_string()
        if newest.id <= cursor.get(name, 0):
            continue
        history = storage.get_asset_check_execution_history(check, limit=HISTORY)
        for found in sorted(history, key=lambda each: each.id):
            if found.id <= cursor.get(name, 0):
                continue
            if found.run_id not in running:
                run = instance.get_run_by_id(found.run_id)
                running[found.run_id] = run is not None and not run.is_finished
            if running[found.run_id]:
                break
            cursor[name] = found.id
            evaluation = _evaluation(found)
            if evaluation is not None:
                yield evaluation


def evaluation_of(
    instance: DagsterInstance, check: dg.AssetCheckKey, partition: str
) -> Evaluation | None:
    """The newest evaluation of `check` for one partition."""
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [check], partition_filter=PartitionKeyFilter(key=partition)
    )
    return _evaluation(found[check]) if check in found else None


def _evaluation(found: AssetCheckExecutionRecord) -> Evaluation | None:
    event = found.event.dagster_event if found.event else None
    if event is None or found.status not in COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES:
        return None
    data = event.asset_check_evaluation_data
    return Evaluation(
        check=found.key,
        partition=data.partition,
        passed=data.passed,
        description=data.description or "",
        metadata={name: value(data.metadata, name) for name in data.metadata},
        run_id=found.run_id,
        blocking=bool(data.blocking),
    )
