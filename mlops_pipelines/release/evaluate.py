"""Judges a challenger beside the champion, on the same rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.fairness import gaps
from mlops_pipelines.measure.intervals import (
    PairedDifference,
    bootstrap_intervals,
    paired_bootstrap,
)
from mlops_pipelines.measure.metrics import evaluate as metrics_of
from mlops_pipelines.measure.outputs import Outputs, positive_last
from mlops_pipelines.measure.slices import by_slice
from mlops_pipelines.release.evaluation import Evaluation, SliceResult
from mlops_pipelines.release.gates import judge, judge_gap
from mlops_pipelines.serve.predictor import BundleError, Predictor
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.snapshot import Snapshot

SEED = 0
DRAWS = 20_000_000
"""Rows drawn for one interval at most: many rows need fewer resamples."""
WITHOUT_INTERVAL = ("calibration_error",)
"""Resampling alone makes it larger, so that its percentiles would lie above its value."""


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
            judge_gap(gate, between)
            if gate.fairness
            else judge(gate, metrics, differences, champion_version, obstacle, len(truth))
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
