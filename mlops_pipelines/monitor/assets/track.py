"""What the assets of the monitor track have in common."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.keys import asset_key, days_of, shared
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import MlflowResource, StoreResource
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from mlops_pipelines.monitor.day_sample import DaySample
    from mlops_pipelines.train.registry import Registry

WARN = dg.AssetCheckSeverity.WARN


@dataclass(frozen=True)
class Day:
    """One day (UTC) of one model in the run that looks at it, and the books it is looked up in."""

    spec: ModelSpec
    day: str
    store: Store
    registry: "Registry"
    context: dg.AssetExecutionContext

    @classmethod
    def opened(
        cls,
        spec: ModelSpec,
        context: dg.AssetExecutionContext,
        mlflow: MlflowResource,
        store: StoreResource,
    ) -> "Day":
        """The day that the run's partition names."""
        from mlops_pipelines.train.registry import Registry

        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        return cls(spec, context.partition_key, store.open(), registry, context)

    def step(self, name: str, **facts: Any) -> AbstractContextManager[dict[str, Any]]:
        """A step of the run, told in its log with its time and what was counted."""
        run = self.context.run.run_id
        return step(self.context.log, name, model=self.spec.name, day=self.day, run=run, **facts)

    def champion(self) -> int | None:
        """The version that should serve; a day is judged by it where it answered."""
        return self.registry.champion(self.spec.name)

    def sample(self) -> "DaySample":
        """The day's rows of the version that it is judged by, or a bounded part of them."""
        from mlops_pipelines.monitor.day_sample import day_sample

        return day_sample(self.store, self.spec.name, self.day, self.champion())

    def judged(self, rows: "pd.DataFrame") -> int | None:
        """Which version the rows are judged by: the champion if it answered, else the busiest."""
        if rows.empty:
            return None
        counts = rows["model_version"].value_counts()
        champion = self.champion()
        return champion if champion in counts.index else int(counts.index[0])

    def compared_with(self, version: int) -> int | None:
        """The version before: the alias, unless it is quarantined or the version itself."""
        previous = self.registry.previous(self.spec.name)
        if previous is None or previous == version:
            return None
        tags = self.registry.version(self.spec.name, previous).tags
        return None if record.QUARANTINED in tags else int(previous)

    def facts(self, version: int, status: str) -> Mapping[str, Any]:
        """What each check that judges a version says of itself; the sensors read it."""
        return {"model": self.spec.name, "day": self.day, "version": version, "status": status}


def in_monitor_track(declared: Declared, name: str, upstream: str) -> dict[str, Any]:
    """What every asset of the track says of itself."""
    spec = declared.spec
    return {
        "key": asset_key(spec.name, name),
        "deps": [asset_key(spec.name, upstream)],
        "partitions_def": days_of(spec),
        **shared(spec),
    }


def of_day(declared: Declared, asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    """A check of one day; it stops nothing."""
    spec = declared.spec
    return dg.AssetCheckSpec(
        name,
        asset=asset_key(spec.name, asset),
        description=description,
        partitions_def=days_of(spec),
    )


def unknown(name: str, description: str) -> dg.AssetCheckResult:
    """Too few rows is said aloud, and is never an alarm."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=True,
        severity=WARN,
        description=description,
        metadata={"status": "insufficient_data"},
    )
