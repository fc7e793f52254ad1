"""Challenger and champion on the same rows, and the gates that decide between them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.gate_spec import Gate
from mlops_pipelines.measure.fairness import Gap, gaps, gaps_table
from mlops_pipelines.measure.intervals import (
    Interval,
    PairedDifference,
    bootstrap_intervals,
    paired_bootstrap,
)
from mlops_pipelines.measure.metrics import evaluate as metrics_of
from mlops_pipelines.measure.outputs import Outputs, positive_last
from mlops_pipelines.measure.slices import by_slice
from mlops_pipelines.serve.predictor import BundleError, Predictor
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.tasks import allowance
from mlops_pipelines.train.snapshot import Snapshot

SEED = 0
DRAWS = 20_000_000
"""Rows drawn for one interval at most: many rows need fewer resamples."""
WITHOUT_INTERVAL = ("calibration_error",)
"""Resampling alone makes it larger, so that its percentiles would lie above its value."""


@dataclass(frozen=True)
class GateResult:
    """One gate, whether it let the version through, and why in one sentence."""

    gate: Gate
    passed: bool
    sentence: str


@dataclass(frozen=True)
class SliceResult:
    """The n holdout rows where a segment holds one value.

    `metrics` is None on too few rows; `difference` to the champion also where there is no
    champion, or where the main metric is undefined on these rows.
    """

    segment: str
    value: str
    n: int
    metrics: dict[str, float] | None
    difference: PairedDifference | None


@dataclass(frozen=True)
class Evaluation:
    """What the challenger achieved on `rows` holdout rows, beside the champion on the same rows.

    `champion_metrics` is None where there is no champion, or where the two cannot be compared.
    `fairness` are the challenger's gaps between the groups of each segment, `judged_by` the main
    metric and those of the gates.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    champion_version: int | None
    champion_metrics: dict[str, float] | None
    differences: dict[str, PairedDifference]
    slices: tuple[SliceResult, ...]
    gates: tuple[GateResult, ...]
    rows: int
    fairness: tuple[Gap, ...] = ()
    judged_by: tuple[str, ...] = ()

    @property
    def meets_thresholds(self) -> bool:
        """Whether every gate with a fixed bound let the version through."""
        return all(result.passed for result in self.thresholds)

    @property
    def no_worse_than_champion(self) -> bool:
        """Whether every gate that compares with the champion let the version through."""
        return all(result.passed for result in self.comparisons)

    @property
    def thresholds(self) -> tuple[GateResult, ...]:
        """The gates with a fixed bound."""
        return tuple(r for r in self.gates if r.gate.within_champion is None)

    @property
    def comparisons(self) -> tuple[GateResult, ...]:
        """The gates that compare with the champion."""
        return tuple(r for r in self.gates if r.gate.within_champion is not None)

    def markdown(self) -> str:
        """Gates and metrics as two tables; with segments, slices and gaps as two more."""
        gates = [f"| {'passed' if g.passed else 'refused'} | {g.sentence} |" for g in self.gates]
        text = ["| gate | why |", "|---|---|", *gates, "", *self._metrics_table()]
        return "\n".join([*text, *self._slices_table(), *gaps_table(self.fairness)])

    def _metrics_table(self) -> list[str]:
        beside = self.champion_metrics
        head = f"| metric ({self.rows} rows) | challenger | 95 % interval |"
        lines = [head + (f" v{self.champion_version} |" if beside else "")]
        lines.append("|---|---|---|" + ("---|" if beside else ""))
        for name, value in self.metrics.items():
            found = self.intervals.get(name)
            interval = f"{found.low:.4g} to {found.high:.4g}" if found else ""
            line = f"| {name} | {value:.4g} | {interval} |"
            if beside:
                line += f" {beside[name]:.4g} |" if name in beside else " |"
            lines.append(line)
        return lines

    def _slices_table(self) -> list[str]:
        if not self.slices:
            return []
        names = list(self.judged_by or self.intervals)
        lines = ["", f"| slice | rows | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
        for part in self.slices:
            cells = [
                f"{part.metrics[name]:.4g}" if part.metrics and name in part.metrics else ""
                for name in names
            ]
            name = f"{part.segment} = {part.value}".replace("|", "\\|")
            lines.append(f"| {name} | {part.n} | {' | '.join(cells)} |")
        return lines


def evaluate(
    spec: ModelSpec,
    snapshot: Snapshot,
    holdout: pd.DataFrame,
    challenger: Predictor,
    champion: Predictor | None,
    champion_version: int | None,
) -> Evaluation:
    """Judge `challenger` on its holdout (target among the columns), beside `champion`.

    Intervals are percentile bootstraps of 95 %, paired where two models are compared. Raises
    DataError where the challenger cannot be judged on these rows.
    """
    truth = holdout[snapshot.target].to_numpy()
    classes = _classes(snapshot)
    outputs = _outputs(challenger, holdout, classes)
    beside, obstacle = _champion_outputs(champion, champion_version, holdout, classes)
    metrics = metrics_of(spec.task, truth, outputs, classes)
    gated = [gate.metric for gate in spec.all_gates if gate.metric]
    named = [m for m in dict.fromkeys([spec.main_metric, *gated]) if m in metrics]
    told = [m for m in metrics if np.isfinite(metrics[m]) and m not in WITHOUT_INTERVAL]
    intervals = bootstrap_intervals(
        list(dict.fromkeys([*named, *told])),
        truth,
        outputs,
        classes,
        n_resamples=_resamples(len(truth)),
        seed=SEED,
    )
    differences: dict[str, PairedDifference] = {}
    champion_metrics = None
    if beside is not None:
        champion_metrics = metrics_of(spec.task, truth, beside, classes)
        for metric in named:
            if metric in champion_metrics:
                differences[metric] = _paired(metric, truth, outputs, beside, classes)
    segments = holdout[list(snapshot.segments)]
    between = gaps(spec.gaps, truth, outputs, classes, segments, seed=SEED)
    return Evaluation(
        metrics=metrics,
        intervals=intervals,
        champion_version=champion_version,
        champion_metrics=champion_metrics,
        differences=differences,
        slices=_slices(spec, snapshot, holdout, outputs, beside, classes),
        gates=tuple(
            _judge_gap(gate, between)
            if gate.fairness
            else _judge(gate, metrics, differences, champion_version, obstacle, len(truth))
            for gate in spec.all_gates
        ),
        rows=len(truth),
        fairness=between,
        judged_by=tuple(named),
    )


def _classes(snapshot: Snapshot) -> tuple[Any, ...]:
    if snapshot.classes is None:
        return ()
    classes = tuple(snapshot.classes)
    if len(classes) == 2 and snapshot.positive is not None:
        return positive_last(classes, snapshot.positive)
    return classes


def _outputs(predictor: Predictor, rows: pd.DataFrame, classes: Sequence[Hashable]) -> Outputs:
    """What `predictor` answers, with probabilities in the order of `classes`.

    Raises BundleError where a column is missing, DataError where it knows a class that is not
    among `classes`.
    """
    answer = predictor.predict_frame(rows)
    known = predictor.meta.classes or ()
    foreign = [label for label in known if label not in classes]
    if foreign:
        raise DataError(f"it knows {len(foreign)} classes that these rows do not have")
    probabilities = None
    if answer.probabilities is not None:
        given = np.asarray(answer.probabilities, dtype=np.float64)
        probabilities = np.zeros((len(rows), len(classes)))
        for index, label in enumerate(known):
            probabilities[:, list(classes).index(label)] = given[:, index]
    score = None if answer.scores is None else np.asarray(answer.scores, dtype=np.float64)
    if len(classes) == 2 and probabilities is not None:
        score = probabilities[:, 1]
    prediction = np.asarray(answer.predictions, dtype=object if classes else np.float64)
    return Outputs(prediction, score, probabilities)


def _champion_outputs(
    champion: Predictor | None,
    version: int | None,
    holdout: pd.DataFrame,
    classes: Sequence[Hashable],
) -> tuple[Outputs | None, str]:
    """The champion's answers, or None and what stands in the way of comparing."""
    if champion is None:
        return None, "" if version is None else f"champion v{version} cannot be loaded"
    try:
        return _outputs(champion, holdout, classes), ""
    except (BundleError, DataError) as error:
        return None, f"champion v{version} cannot answer the challenger's holdout: {error}"


def _paired(
    metric: str, truth: Any, a: Outputs, b: Outputs, classes: Sequence[Hashable]
) -> PairedDifference:
    resamples = _resamples(len(truth))
    return paired_bootstrap(metric, truth, a, b, classes, n_resamples=resamples, seed=SEED)


def _resamples(rows: int) -> int:
    return max(200, min(1000, DRAWS // max(rows, 1)))


def _slices(
    spec: ModelSpec,
    snapshot: Snapshot,
    holdout: pd.DataFrame,
    outputs: Outputs,
    beside: Outputs | None,
    classes: Sequence[Hashable],
) -> tuple[SliceResult, ...]:
    if not snapshot.segments:
        return ()
    truth = holdout[snapshot.target].to_numpy()

    def measure(rows: Any) -> tuple[dict[str, float], PairedDifference | None]:
        mine = outputs.take(rows)
        metrics = metrics_of(spec.task, truth[rows], mine, classes)
        difference = None
        if beside is not None and spec.main_metric in metrics:
            try:
                theirs = beside.take(rows)
                difference = _paired(spec.main_metric, truth[rows], mine, theirs, classes)
            except DataError:
                # Undefined for the champion on these rows: the slice is shown without it.
                difference = None
        return metrics, difference

    return tuple(
        SliceResult(part.segment, part.value, part.n, *(part.result or (None, None)))
        for part in by_slice(holdout[list(snapshot.segments)], measure)
    )


def _judge(
    gate: Gate,
    metrics: dict[str, float],
    differences: dict[str, PairedDifference],
    champion_version: int | None,
    obstacle: str,
    rows: int,
) -> GateResult:
    name = gate.metric
    if name not in metrics:
        return GateResult(gate, False, f"{name} is undefined on the {rows} holdout rows")
    value = metrics[name]
    if gate.at_least is not None:
        verb = "is at least" if value >= gate.at_least else "is below"
        sentence = f"{name} {value:.4g} {verb} {gate.at_least:g}"
        return GateResult(gate, value >= gate.at_least, sentence)
    if gate.at_most is not None:
        verb = "is at most" if value <= gate.at_most else "is above"
        sentence = f"{name} {value:.4g} {verb} {gate.at_most:g}"
        return GateResult(gate, value <= gate.at_most, sentence)
    if champion_version is None:
        return GateResult(gate, True, f"{name} {value:.4g}: no champion yet to compare with")
    if name not in differences:
        reason = obstacle or f"{name} is undefined for champion v{champion_version}"
        return GateResult(gate, False, f"{name} cannot be compared: {reason}")
    return _compare(gate, differences[name], champion_version)


def _judge_gap(gate: Gate, between: Sequence[Gap]) -> GateResult:
    """A gap that cannot be measured is not known to be within its bound, so it is refused."""
    for gap in between:
        if (gap.name, gap.segment) == (gate.fairness, gate.segment):
            bound = gate.at_most or 0.0
            return GateResult(gate, gap.within(bound), gap.judged(bound))
    return GateResult(
        gate, False, f"{gate.fairness}: the snapshot has no segment {gate.segment}; train again"
    )


def _compare(gate: Gate, found: PairedDifference, champion_version: int) -> GateResult:
    allowed = allowance(gate.metric, gate.within_champion or 0.0, found.b)
    # A difference that is exactly the bound must not fail by its last bit.
    passed = found.improvement >= -allowed - 1e-12
    better = "better" if found.improvement >= 0 else "worse"
    sentence = (
        f"{gate.metric} {found.a:.4g} is {abs(found.improvement):.4g} {better} than champion "
        f"v{champion_version}'s {found.b:.4g} (95 % interval of the improvement "
        f"{found.low:+.4g} to {found.high:+.4g}; {allowed:.4g} worse is allowed)"
    )
    return GateResult(gate, passed, sentence)
