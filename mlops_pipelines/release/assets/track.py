"""What the assets of the release track have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_pipelines.keys import asset_key, shared, versions_of
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import TargetResource
from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.release.targets.target import Target


def open_target(target: TargetResource, *specs: ModelSpec) -> "Target":
    """The place where bundles of these models run."""
    from mlops_pipelines.release.targets import opening

    releases = {spec.name: spec.release for spec in specs}
    return opening.open_target(target.parsed, Path(target.home), releases)


def in_release_track(declared: Declared, name: str, upstream: str) -> dict[str, Any]:
    """What every asset of the track says of itself."""
    spec = declared.spec
    return {
        "key": asset_key(spec.name, name),
        "deps": [asset_key(spec.name, upstream)],
        "partitions_def": versions_of(spec.name),
        "automation_condition": _release_once(),
        **shared(spec),
    }


def blocking(
    declared: Declared, key: dg.AssetKey, name: str, description: str
) -> dg.AssetCheckSpec:
    """A gate: a check that stops the release where it fails."""
    return dg.AssetCheckSpec(
        name,
        asset=key,
        blocking=True,
        description=description,
        partitions_def=versions_of(declared.spec.name),
    )


def _release_once() -> dg.AutomationCondition[Any]:
    """Once for each new version; a version whose gate failed is not tried again each tick."""
    condition = dg.AutomationCondition
    return (
        (condition.any_deps_updated() | condition.newly_missing()).since_last_handled()
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & condition.all_deps_blocking_checks_passed()
    ).with_label("release_once")
