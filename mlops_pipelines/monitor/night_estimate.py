"""A night's estimate of one version, with what MLflow keeps of its training and its past nights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.measure.attribution import harmful_columns
from mlops_pipelines.measure.estimator import Estimator
from mlops_pipelines.measure.profile import Profile
from mlops_pipelines.monitor.estimates import Estimated, Previous, estimate_day, watched_metric
from mlops_pipelines.monitor.harm import Harm, Status, harm
from mlops_pipelines.monitor.track_record import TrackRecord, scored_nights, track_record
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.estimates import ESTIMATOR

if TYPE_CHECKING:
    from mlops_pipelines.serve.predictor import Predictor
    from mlops_pipelines.train.registry import Registry


def load_estimator(registry: Registry, model: str, version: int) -> Estimator | None:
    """What was learned of a version at training; None of one that was trained without it.

    Raises DataError, TrackingError.
    """
    try:
        path = registry.fetch(model, version, ESTIMATOR)
    except NotFoundError:
        return None
    return Estimator.from_json(path.read_text(encoding="utf-8"))


def estimate_night(
    registry: Registry,
    spec: ModelSpec,
    day: str,
    version: int,
    rows: pd.DataFrame,
    *,
    labelled: pd.DataFrame | None = None,
    predictor: Predictor | None = None,
    previous: int | None = None,
) -> Estimated | None:
    """`estimate_day` of `version` on the day's `rows`; None of a version without an estimator.

    `predictor` is that of `previous`, as in `monitor.performance.assess`. Raises DataError,
    TrackingError.
    """
    estimator = load_estimator(registry, spec.name, version)
    if estimator is None:
        return None
    other = None
    if predictor is not None and previous is not None:
        theirs = load_estimator(registry, spec.name, previous)
        other = Previous(previous, predictor, theirs, _record(registry, spec, day, previous))
    return estimate_day(
        spec,
        rows,
        version,
        estimator,
        registry.version(spec.name, version).metrics,
        _record(registry, spec, day, version),
        other,
        labelled=labelled,
    )


def night_harm(
    registry: Registry,
    spec: ModelSpec,
    version: int,
    drift: Status,
    drifted: Sequence[str],
    estimated: Estimated | None,
    reference: Profile,
    window: Profile,
) -> Harm:
    """What the drift of a day means, by the estimate of it; see `harm.harm`.

    `reference` and `window` are the profiles that `drift` was judged by. Raises DataError,
    TrackingError.
    """
    estimator = load_estimator(registry, spec.name, version)
    losses = {} if estimator is None else estimator.loss_by_cell
    status = "insufficient_data" if estimated is None else estimated.status
    return harm(drift, drifted, status, "estimated", harmful_columns(reference, window, losses))


def _record(registry: Registry, spec: ModelSpec, day: str, version: int) -> TrackRecord:
    scored = scored_nights(registry, spec.name, version, day, watched_metric(spec))
    return track_record(scored, spec.monitor.label_delay_days)
