"""The nights of a version as MLflow keeps them: one run each, with what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from mlops_pipelines import record

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry


class NightRun(NamedTuple):
    """One night: its day (YYYY-MM-DD), the tags and the metrics of its run."""

    day: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def nights_with(
    registry: Registry, model: str, version: int, before: str, metric: str
) -> list[NightRun]:
    """The last 1,000 nights of a version that have `metric`, before the day `before`, in order.

    Raises TrackingError.
    """
    from mlops_pipelines.train.tracking import connect, told

    with told(registry.tracking_uri, f"reading the nights of {model} version {version}"):
        client = connect(registry.tracking_uri)
        experiment = client.get_experiment_by_name(model)
        if experiment is None:
            return []
        runs = client.search_runs(
            [experiment.experiment_id],
            f"tags.`{record.KIND}` = 'evaluation' and tags.`{record.VERSION}` = '{version}' "
            f"and metrics.`{metric}` > -1e300",
            max_results=1000,
        )
    found = [NightRun(run.data.tags[record.DAY], run.data.tags, run.data.metrics) for run in runs]
    return sorted((each for each in found if each.day < before), key=lambda each: each.day)
