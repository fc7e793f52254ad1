"""How well a day's rows were predicted, and whether the previous version did better."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.intervals import Interval, PairedDifference, bootstrap_interval
from mlops_pipelines.measure.metrics import better, evaluate
from mlops_pipelines.measure.slices import Slice, by_slice
from mlops_pipelines.monitor.coverage import DayCoverage
from mlops_pipelines.monitor.error_slices import ErrorSlices, error_slices, most_wrong
from mlops_pipelines.monitor.estimates import Estimated
from mlops_pipelines.monitor.outcome import Outcome, outcome
from mlops_pipelines.monitor.previous import Replayed, compare_realised, replay
from mlops_pipelines.monitor.usual import DAYS, NIGHTS_PER_YEAR, UNKNOWN, Usual, fall
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.tasks import allowance

if TYPE_CHECKING:
    from mlops_pipelines.serve.predictor import Predictor

Status = Literal["ok", "alarm", "insufficient_data"]
Basis = Literal["realised", "estimated"]

_SEED = 0


@dataclass(frozen=True)
class Performance:
    """What `labelled` rows of `version` show of `metric`, and the evidence for `status`.

    `basis` says whether the status rests on labels, or on `estimated` where too few are in. `limit`
    is the value beyond which the metric fell too far below `baseline`, which the holdout gave.
    `versions` has every metric of each version that answered. `previous_difference` is the
    improvement of the previous version over this one on the same rows (of the metric, or of the
    expected loss where the basis is estimated), None where they cannot be compared. `errors` says
    where it goes wrong, `worst` are the rows with the largest loss, at most 20, the worst first.
    `days` is how many days the rows are of, where those of one alone are too few; `earlier` says
    how the version usually does.
    """

    status: Status
    version: int
    metric: str
    value: float | None
    interval: Interval | None
    baseline: float | None
    limit: float | None
    labelled: int
    versions: Mapping[int, Mapping[str, float]]
    slices: tuple[Slice[float | None], ...]
    previous: int | None
    previous_difference: PairedDifference | None
    errors: ErrorSlices
    worst: pd.DataFrame
    sentence: str
    basis: Basis = "realised"
    estimated: Estimated | None = None
    coverage: DayCoverage | None = None
    days: int = 1
    earlier: Usual = UNKNOWN

    @property
    def provisional(self) -> bool:
        """Whether many labels are still to come."""
        return self.coverage is not None and self.coverage.provisional

    @property
    def previous_clearly_better(self) -> bool:
        """Whether the whole interval of the previous version's improvement lies above zero."""
        return self.previous_difference is not None and self.previous_difference.clearly_better

    def metrics(self) -> dict[str, float]:
        """What is logged of the night, under the names that training uses."""
        found = {"labelled": float(self.labelled), **self.versions.get(self.version, {})}
        if self.interval is not None:
            found[f"{self.metric}_low"] = self.interval.low
            found[f"{self.metric}_high"] = self.interval.high
        if self.baseline is not None:
            found[f"{self.metric}_baseline"] = self.baseline
        if self.previous_difference is not None:
            found["previous_improvement"] = self.previous_difference.improvement
        if self.days > 1:
            found[DAYS] = float(self.days)
        if self.coverage is not None:
            found |= self.coverage.metrics()
        if self.estimated is not None:
            found |= self.estimated.metrics()
        return found

    def evidence(self) -> dict[str, Any]:
        """What the status rests on, as a JSON value."""
        interval, difference = self.interval, self.previous_difference
        return {
            "basis": self.basis,
            "provisional": self.provisional,
            "estimated": None if self.estimated is None else self.estimated.evidence(),
            "metric": self.metric,
            "value": self.value,
            "interval": None if interval is None else [interval.low, interval.high],
            "baseline": self.baseline,
            "limit": self.limit,
            "labelled": self.labelled,
            "days": self.days,
            "usual": self.earlier.level,
            "usual_deviation": self.earlier.deviation,
            "usual_nights": self.earlier.nights,
            "previous": self.previous,
            "previous_improvement": None if difference is None else difference.improvement,
            "previous_interval": None if difference is None else [difference.low, difference.high],
        }

    def markdown(self) -> str:
        """The sentence, and tables of versions and slices."""
        lines = [self.sentence, ""]
        names = list(dict.fromkeys(name for found in self.versions.values() for name in found))
        if names:
            lines += [f"| version | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
            for version, found in sorted(self.versions.items()):
                cells = (f"{found[name]:.4g}" if name in found else "" for name in names)
                lines.append(f"| {version} | {' | '.join(cells)} |")
        if self.slices:
            lines += ["", f"| slice | rows | {self.metric} |", "|---|---|---|"]
            for part in self.slices:
                cell = "too few rows" if part.result is None else f"{part.result:.4g}"
                lines.append(f"| {_cell(f'{part.segment} = {part.value}')} | {part.n} | {cell} |")
        return "\n".join(lines)

    def worst_markdown(self) -> str:
        """The worst rows as a table; `mlops replay` takes the prediction ids."""
        lines = ["| prediction | predicted at | label | answer | score | loss | previous version |"]
        lines.append("|---" * 7 + "|")
        for row in self.worst.itertuples(index=False):
            score = "" if pd.isna(row.score) else f"{row.score:.4g}"
            before = "" if row.previous is None else _cell(row.previous)
            lines.append(
                f"| {_cell(row.prediction_id)} | {row.predicted_at:%Y-%m-%d %H:%M:%S} | "
                f"{_cell(row.label)} | {_cell(row.prediction)} | {score} | {row.loss:.4g} | "
                f"{before} |"
            )
        return "\n".join(lines)


def assess(
    spec: ModelSpec,
    rows: pd.DataFrame,
    version: int,
    baseline: Mapping[str, float],
    predictor: Predictor | None = None,
    previous: int | None = None,
    *,
    classes: Sequence[Hashable] | None = None,
    estimated: Estimated | None = None,
    coverage: DayCoverage | None = None,
    earlier: Usual = UNKNOWN,
    days: int = 1,
) -> Performance:
    """Judge `version` on the labelled rows of a day, beside `previous` answering the same rows.

    `baseline` are the metrics of its holdout, `predictor` is the previous version's, `classes` are
    the labels in the order of the logged probabilities (those in the rows unless given). `alarm`
    when the metric fell by more than spec.main_drop, and beyond what chance and the differences of
    `earlier` nights explain more often than spec.monitor.false_alarms_per_year; see `usual.fall`.
    Rows of several `days` are given where those of one alone are too few.
    Where fewer than spec.monitor.min_rows rows are labelled, or the metric is undefined on them,
    the status is that of `estimated`; without it, `insufficient_data`. `coverage` says how many
    labels are in. Intervals are percentile bootstraps with a fixed seed.
    """
    metric = spec.main_metric
    if classes is None and predictor is not None and spec.task == "multiclass_classification":
        classes = predictor.meta.classes
    by_version = {
        int(number): outcome(spec, part, classes)
        for number, part in rows.groupby("model_version", sort=True)
    }
    own = by_version.get(version) or outcome(spec, rows.iloc[:0], classes)
    labelled = len(own.rows)
    interval, why = _interval(spec, metric, own)
    expected = baseline.get(metric)
    if expected is None:
        why = why or f"version {version} has no {metric} on its holdout to compare with"
    limit = (
        None
        if expected is None
        else expected - better(metric, allowance(metric, spec.main_drop, expected), 0)
    )
    theirs: Replayed | None = None
    if predictor is not None and previous is not None and labelled:
        theirs = replay(own, predictor, previous)
    difference, compared = None, ""
    if interval is not None and theirs is not None:
        difference, compared = compare_realised(metric, own, theirs)
    status: Status = "insufficient_data"
    basis: Basis = "realised"
    if interval is not None and expected is not None and limit is not None:
        alpha = spec.monitor.false_alarms_per_year / NIGHTS_PER_YEAR
        seen = fall(metric, interval, expected, limit, alpha, earlier)
        status = "alarm" if seen.fell else "ok"
        why = (
            f"{metric} {interval.value:.4g} ({interval.low:.4g} to {interval.high:.4g}) "
            f"on {labelled} labelled rows{_of_days(days)}; {expected:.4g} on the holdout, "
            f"limit {limit:.4g}"
        )
        if earlier.sentence:
            why += f"; {earlier.sentence}"
        if seen.over == "nights":
            why += f"; {seen.value:.4g} over {seen.nights} nights together"
    if own.unusable:
        why += f"; {own.unusable} labels left out: they are none of the classes, or no numbers"
    if coverage is not None and coverage.provisional:
        why += f"; provisional: {coverage.sentence}"
    if status == "insufficient_data" and estimated is not None:
        why += f"; {estimated.sentence}"
        if estimated.status != "insufficient_data":
            basis, status = "estimated", estimated.status
            difference, compared = estimated.previous_difference, ""
    return Performance(
        status=status,
        version=version,
        metric=metric,
        value=None if interval is None else interval.value,
        interval=interval,
        baseline=expected,
        limit=limit,
        labelled=labelled,
        versions={number: _metrics(spec, found) for number, found in by_version.items()},
        slices=_slices(spec, metric, own),
        previous=previous,
        previous_difference=difference,
        errors=error_slices(spec, own, theirs),
        worst=most_wrong(spec, own, theirs),
        sentence=f"{why}; {compared}" if compared else why,
        basis=basis,
        estimated=estimated,
        coverage=coverage,
        days=days,
        earlier=earlier,
    )


def _of_days(days: int) -> str:
    return f" of {days} days together" if days > 1 else ""


def _interval(spec: ModelSpec, metric: str, own: Outcome) -> tuple[Interval | None, str]:
    """The metric with its interval, or why there is none."""
    labelled = len(own.rows)
    if labelled < spec.monitor.min_rows:
        return None, f"{labelled} labelled rows; {spec.monitor.min_rows} are needed to judge"
    if own.classes and len(set(own.truth.tolist())) < 2:
        return None, f"{labelled} labelled rows, all of one class"
    if spec.task == "binary_classification" and len(own.classes) != 2:
        return None, f"{labelled} labelled rows of {len(own.classes)} classes; two were expected"
    try:
        return bootstrap_interval(metric, own.truth, own.outputs, own.classes, seed=_SEED), ""
    except DataError as error:
        return None, f"{labelled} labelled rows: {error}"


def _metrics(spec: ModelSpec, found: Outcome) -> dict[str, float]:
    if not len(found.rows):
        return {}
    try:
        return evaluate(spec.task, found.truth, found.outputs, found.classes)
    except DataError:
        # One class only, so far: the day's rows do not show what the task's classes are.
        return {}


def _slices(spec: ModelSpec, metric: str, own: Outcome) -> tuple[Slice[float | None], ...]:
    logged = [name for name in spec.data.segments if name in own.rows.columns]

    def measure(positions: np.ndarray[Any, Any]) -> float | None:
        part = Outcome(
            own.rows.iloc[positions],
            own.truth[positions],
            own.outputs.take(positions),
            own.classes,
            0,
        )
        return _metrics(spec, part).get(metric)

    return by_slice(own.rows[logged], measure) if logged and len(own.rows) else ()


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
