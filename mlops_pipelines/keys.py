"""Names of a model's assets, jobs and partitions, the same wherever they are spelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mlops_pipelines.spec import ModelSpec


def asset_key(model: str, asset: str) -> dg.AssetKey:
    """`<model>/<asset>`."""
    return dg.AssetKey([model, asset])


def check_key(model: str, asset: str, check: str) -> dg.AssetCheckKey:
    """The key of a check of `<model>/<asset>`."""
    return dg.AssetCheckKey(asset_key(model, asset), check)


def versions_of(model: str) -> dg.DynamicPartitionsDefinition:
    """One partition per model version."""
    return dg.DynamicPartitionsDefinition(name=f"{model}_versions")


def days_of(spec: ModelSpec) -> dg.DailyPartitionsDefinition:
    """One partition per day (UTC), up to and including today."""
    return dg.DailyPartitionsDefinition(start_date=spec.monitor.start.isoformat(), end_offset=1)


def shared(spec: ModelSpec) -> dict[str, Any]:
    """What all assets of a model have in common."""
    return {"group_name": spec.name, "owners": list(spec.owners), "tags": model_tags(spec.name)}


def model_tags(model: str) -> Mapping[str, str]:
    """Tags of a model's assets and runs."""
    return {"mlops/model": model}


def run_tags(model: str, track: str) -> Mapping[str, str]:
    """Tags of the runs of one track; dagster.yaml lets one run at a time into a lane."""
    return {**model_tags(model), "mlops/track": track, "mlops/lane": f"{model}-{track}"}


def value(metadata: Mapping[str, Any], name: str) -> Any:
    """The plain value of one metadata entry, None where there is none."""
    entry = metadata.get(name)
    return getattr(entry, "value", entry)
