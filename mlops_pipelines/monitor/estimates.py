"""How well a day was predicted, as far as that can be said before its labels are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.chance import one_sided
from mlops_pipelines.measure.estimate import CONFIDENCE, Estimate
from mlops_pipelines.measure.intervals import PairedDifference
from mlops_pipelines.measure.metrics import better, evaluate
from mlops_pipelines.monitor.outcome import Outcome, answered, outcome
from mlops_pipelines.monitor.previous import compare_estimated, replay
from mlops_pipelines.monitor.track_record import ERROR, MARGIN, NOTHING, TrackRecord
from mlops_pipelines.monitor.usual import NIGHTS_PER_YEAR
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.tasks import ERROR_DROP, IN_TARGET_UNIT, allowance

if TYPE_CHECKING:
    from mlops_pipelines.measure.estimator import Estimator
    from mlops_pipelines.serve.predictor import Predictor

Status = Literal["ok", "alarm", "insufficient_data"]

_STANDS_IN = {"regression": "rmse"}


@dataclass(frozen=True)
class Previous:
    """The version that would be put back, and what it takes to ask it about the day's rows."""

    version: int
    predictor: Predictor
    estimator: Estimator | None
    record: TrackRecord = NOTHING


@dataclass(frozen=True)
class Estimated:
    """What is expected of the `rows` rows that `version` answered, of `metric` before all.

    `estimates` are all metrics; `estimate` is that of `metric`, corrected and widened by what the
    `record` of earlier nights shows. `error` is realised − uncorrected on the labelled rows, None
    where too few are in, and `margin` half the width of the uncorrected interval there.
    `previous_difference` is by how much less the previous version is expected to err on the same
    rows.
    """

    status: Status
    version: int
    metric: str
    rows: int
    estimate: Estimate | None
    estimates: Mapping[str, Estimate]
    baseline: float | None
    limit: float | None
    record: TrackRecord
    error: float | None = None
    margin: float | None = None
    previous_difference: PairedDifference | None = None
    sentence: str = ""

    def metrics(self) -> dict[str, float]:
        """What is logged of the night: `estimated_<metric>`, with _low and _high, and the record.

        Every night that has labels is scored under `estimate_error_<metric>`.
        """
        found: dict[str, float] = {}
        shown = dict(self.estimates)
        if self.estimate is not None:
            shown[self.metric] = self.estimate
        for name, each in shown.items():
            found[f"estimated_{name}"] = each.value
            if each.low is not None and each.high is not None:
                found[f"estimated_{name}_low"] = each.low
                found[f"estimated_{name}_high"] = each.high
        if self.error is not None and self.margin is not None:
            found[f"{ERROR}_{self.metric}"] = self.error
            found[f"{MARGIN}_{self.metric}"] = self.margin
        if self.record.mean_error is not None:
            found["estimate_mean_error"] = self.record.mean_error
            found["estimate_nights"] = float(self.record.nights)
        return found

    def evidence(self) -> dict[str, Any]:
        """What the status rests on, as a JSON value."""
        estimate, difference = self.estimate, self.previous_difference
        return {
            "status": self.status,
            "metric": self.metric,
            "value": None if estimate is None else estimate.value,
            "interval": None if estimate is None else [estimate.low, estimate.high],
            "baseline": self.baseline,
            "limit": self.limit,
            "rows": self.rows,
            "nights_scored": self.record.nights,
            "mean_error": self.record.mean_error,
            "previous_improvement": None if difference is None else difference.improvement,
            "previous_interval": None if difference is None else [difference.low, difference.high],
        }

    def markdown(self) -> str:
        """The sentence, and a table of every estimate."""
        lines = [self.sentence]
        if self.estimates:
            lines += ["", "| metric | estimated | 95 % interval | |", "|---|---|---|---|"]
        for name, each in self.estimates.items():
            each = self.estimate if name == self.metric and self.estimate else each
            interval = "" if each.low is None else f"{each.low:.4g} to {each.high:.4g}"
            decides = "decides" if name == self.metric else "shown only"
            lines.append(f"| {name} | {each.value:.4g} | {interval} | {decides} |")
        return "\n".join(lines)


def watched_metric(spec: ModelSpec) -> str:
    """The metric whose estimate decides: the declared one, or what stands in for it.

    AUC and its like are ranked too badly by their estimates (correlation 0.47 with the truth on a
    real stream, accuracy's 0.99), so accuracy stands in for them; rmse for r2.
    """
    estimable = ("accuracy", "precision", "recall", "f1", "mae", "rmse")
    return (
        spec.main_metric if spec.main_metric in estimable else _STANDS_IN.get(spec.task, "accuracy")
    )


def estimate_day(
    spec: ModelSpec,
    rows: pd.DataFrame,
    version: int,
    estimator: Estimator,
    baseline: Mapping[str, float],
    record: TrackRecord = NOTHING,
    previous: Previous | None = None,
    *,
    labelled: pd.DataFrame | None = None,
) -> Estimated:
    """Estimate how `version` did on the `rows` of a day, and score that on the `labelled` ones.

    `baseline` are the metrics of its holdout. `alarm` where the estimate lies below the baseline by
    more than the allowance, the baseline lies outside its interval (widened to the promised rate,
    spec.monitor.false_alarms_per_year), and at least `track_record.ENOUGH` nights were scored;
    `insufficient_data` with fewer of them, with fewer than spec.monitor.min_rows rows, and where
    the rows cannot be estimated.
    """
    metric = watched_metric(spec)
    own = answered(spec, rows[rows["model_version"] == version], estimator.classes)
    expected = baseline.get(metric)
    limit = None
    if expected is not None:
        limit = expected - better(metric, allowance(metric, _allowed(spec, metric), expected), 0)
    found: dict[str, Estimate] = {}
    error = margin = estimate = difference = None
    compared = ""
    status: Status
    try:
        if own.classes != estimator.classes:
            raise DataError(f"version {version} was measured with another positive class")
        found = estimator.estimates(own.rows, own.outputs)
        error, margin = _scored(spec, metric, version, estimator, labelled)
    except DataError as why:
        status, sentence = "insufficient_data", f"no estimate: {why}"
    else:
        raw = found.get(metric)
        if raw is not None:
            top = float("inf") if metric in IN_TARGET_UNIT else 1.0
            estimate = raw.with_error(record.shift, record.deviation, top)
            difference, compared = _against(own, estimator, record, previous)
        status, sentence = _judged(spec, metric, len(own.rows), estimate, expected, limit, record)
    return Estimated(
        status=status,
        version=version,
        metric=metric,
        rows=len(own.rows),
        estimate=estimate,
        estimates=found,
        baseline=expected,
        limit=limit,
        record=record,
        error=error,
        margin=margin,
        previous_difference=difference,
        sentence=f"{sentence}; {compared}" if compared else sentence,
    )


def _judged(
    spec: ModelSpec,
    metric: str,
    rows: int,
    estimate: Estimate | None,
    expected: float | None,
    limit: float | None,
    record: TrackRecord,
) -> tuple[Status, str]:
    if rows < spec.monitor.min_rows or estimate is None:
        return "insufficient_data", (
            f"{rows} rows answered; {spec.monitor.min_rows} are needed to estimate {metric}"
        )
    assert estimate.low is not None
    assert estimate.high is not None
    said = (
        f"estimated {metric} {estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g}) "
        f"on {rows} rows"
    )
    if expected is None or limit is None:
        return "insufficient_data", f"{said}; the holdout has no {metric} to compare with"
    said += f"; {expected:.4g} on the holdout, limit {limit:.4g}; {record.sentence}"
    if not record.enough:
        return "insufficient_data", said
    fell = better(metric, limit, estimate.value) > 0
    best = estimate.high if better(metric, 1, 0) > 0 else estimate.low
    alpha = min(0.5, spec.monitor.false_alarms_per_year / NIGHTS_PER_YEAR)
    best = estimate.value + (best - estimate.value) * one_sided(alpha) / CONFIDENCE
    return ("alarm" if fell and better(metric, expected, best) > 0 else "ok"), said


def _scored(
    spec: ModelSpec,
    metric: str,
    version: int,
    estimator: Estimator,
    labelled: pd.DataFrame | None,
) -> tuple[float | None, float | None]:
    """Realised − estimated on the labelled rows, and half the width of the interval there."""
    if labelled is None:
        return None, None
    own = outcome(spec, labelled[labelled["model_version"] == version], estimator.classes)
    if len(own.rows) < spec.monitor.min_rows:
        return None, None
    estimate = estimator.estimates(own.rows, own.outputs).get(metric)
    try:
        realised = evaluate(spec.task, own.truth, own.outputs, own.classes).get(metric)
    except DataError:
        return None, None
    if estimate is None or realised is None or estimate.low is None or estimate.high is None:
        return None, None
    return realised - estimate.value, (estimate.high - estimate.low) / 2


def _against(
    own: Outcome, estimator: Estimator, record: TrackRecord, previous: Previous | None
) -> tuple[PairedDifference | None, str]:
    if previous is None or previous.estimator is None or not len(own.rows):
        return None, ""
    theirs = replay(own, previous.predictor, previous.version)
    expected = estimator.expected_loss(own.rows, own.outputs)
    deviation = (record.deviation**2 + previous.record.deviation**2) ** 0.5
    return compare_estimated(own, expected, theirs, previous.estimator, deviation)


def _allowed(spec: ModelSpec, metric: str) -> float:
    """How far the metric may fall; of one that stands in for another, what is allowed of that."""
    if (metric in IN_TARGET_UNIT) == (spec.main_metric in IN_TARGET_UNIT):
        return spec.main_drop
    return ERROR_DROP
