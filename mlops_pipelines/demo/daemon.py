"""Ticks of what `dagster-daemon` does all the time: the real sensors and automation conditions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_pipelines.running import Ran, run_job

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions


@dataclass
class Daemon:
    """Sensors, and the automation of one model, evaluated when told to, with their cursors."""

    defs: Definitions
    instance: DagsterInstance
    model: str
    _cursors: dict[str, str | None] = field(default_factory=dict)
    _automation: Any = None

    def tick(self, sensor: str) -> list[Ran]:
        """Evaluate `sensor` once, and execute the runs that it asks for."""
        import dagster as dg

        definition = self.defs.resolve_sensor_def(sensor)
        context = dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=self._cursors.get(sensor),
            definitions=self.defs,
            resources=dict(self.defs.resources or {}),
        )
        # What a sensor says goes to its tick in the UI; here it would stand between the lines.
        logging.disable(logging.INFO)
        try:
            with context:
                found = definition.evaluate_tick(context)
        finally:
            logging.disable(logging.NOTSET)
        self._cursors[sensor] = found.cursor
        return [
            run_job(
                self.defs,
                self.instance,
                str(request.job_name),
                partition=request.partition_key,
                config=request.run_config,
                tags=request.tags,
            )
            for request in found.run_requests or []
        ]

    def automate(self) -> list[tuple[str, str | None]]:
        """Evaluate the automation conditions once: the (asset, partition) that are asked for."""
        import dagster as dg
        from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
        from dagster._core.definitions.automation_tick_evaluation_context import (
            AutomationTickEvaluationContext,
        )

        # What the daemon itself evaluates with: Dagster's function for tests reads the partitions
        # anew a hundred times over.
        cursor = self._automation or AssetDaemonCursor.empty()
        tick = AutomationTickEvaluationContext(
            evaluation_id=cursor.evaluation_id + 1,
            instance=self.instance,
            asset_graph=self.defs.resolve_asset_graph(),
            cursor=cursor,
            materialize_run_tags={},
            observe_run_tags={},
            auto_observe_asset_keys=set(),
            asset_selection=dg.AssetSelection.groups(self.model),
            logger=logging.getLogger("dagster.automation"),
            emit_backfills=False,
        )
        requests, self._automation, _ = tick.evaluate()
        return sorted(
            (
                (key.to_user_string(), request.partition_key)
                for request in requests
                for key in request.asset_selection or []
            ),
            key=str,
        )


@contextmanager
def overheard() -> Iterator[list[str]]:
    """The alerts that are sent inside the block."""
    heard: list[str] = []

    class _Listener(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            if hasattr(entry, "alert"):
                heard.append(entry.getMessage())

    logger, listener = logging.getLogger("mlops_pipelines.react.alerts"), _Listener()
    logger.addHandler(listener)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield heard
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates
