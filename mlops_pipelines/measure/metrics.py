"""The metrics a model is judged by, under the names that declarations use."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure import weighted
from mlops_pipelines.measure.outputs import Floats, Judged, Outputs, Task, judge, positive_last

BINARY: Task = "binary_classification"
MULTICLASS: Task = "multiclass_classification"
REGRESSION: Task = "regression"


@dataclass(frozen=True)
class Metric:
    """One way to judge a model. `prepare` gives it as a function of row weights (see weighted)."""

    name: str
    tasks: tuple[Task, ...]
    greater_is_better: bool
    needs_scores: bool
    explanation: str
    prepare: Callable[[Judged], weighted.Weighted]

    def measurable(self, rows: Judged) -> bool:
        """Whether the model gave the probabilities that this metric needs, for at least one row."""
        given = rows.score if rows.n_classes == 2 else rows.probabilities
        return len(rows) > 0 and (given is not None or not self.needs_scores)

    def compute(self, truth: ArrayLike, outputs: Outputs, classes: Sequence[Hashable]) -> float:
        """Its value; NaN where it is undefined on these rows. Raises DataError as `judge` does."""
        return self.value(judge(truth, outputs, classes))

    def value(self, rows: Judged) -> float:
        """The metric of these rows, each counted once; NaN where it is undefined on them."""
        if not self.measurable(rows):
            return float("nan")
        return float(self.prepare(rows)(np.ones((1, len(rows))))[0])


_BOTH = (BINARY, MULTICLASS)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _BOTH, True, False, "share of rows predicted right", weighted.accuracy),
        Metric(
            "precision",
            _BOTH,
            True,
            False,
            "share of the rows called positive that are; macro mean over three classes or more",
            weighted.label_rate("precision"),
        ),
        Metric(
            "recall",
            _BOTH,
            True,
            False,
            "share of the positive rows that are found; macro mean over three classes or more",
            weighted.label_rate("recall"),
        ),
        Metric(
            "f1",
            _BOTH,
            True,
            False,
            "harmonic mean of precision and recall; macro mean over three classes or more",
            weighted.label_rate("f1"),
        ),
        Metric(
            "roc_auc",
            _BOTH,
            True,
            True,
            "chance that a positive row scores above a negative one; macro mean of one against "
            "the rest over three classes or more",
            weighted.roc_auc,
        ),
        Metric(
            "average_precision",
            (BINARY,),
            True,
            True,
            "area under precision over recall",
            weighted.average_precision,
        ),
        Metric(
            "log_loss",
            _BOTH,
            False,
            True,
            "mean of −log P(truth), in nats",
            weighted.log_loss,
        ),
        Metric(
            "brier",
            (BINARY,),
            False,
            True,
            "mean squared distance of P(positive) from what happened",
            weighted.brier,
        ),
        Metric(
            "calibration_error",
            _BOTH,
            False,
            True,
            "mean distance between claimed and observed probability, over ten bins of equal mass",
            weighted.calibration_error,
        ),
        Metric("mae", (REGRESSION,), False, False, "mean absolute error", weighted.mae),
        Metric("rmse", (REGRESSION,), False, False, "root mean squared error", weighted.rmse),
        Metric(
            "r2",
            (REGRESSION,),
            True,
            False,
            "share of the target's variance that is explained",
            weighted.r2,
        ),
    )
}

_DEFAULTS: dict[Task, str] = {BINARY: "roc_auc", MULTICLASS: "f1", REGRESSION: "rmse"}


def default_metric(task: Task) -> str:
    """The metric a model is judged by where its declaration names none.

    Binary: roc_auc, which no threshold and no class balance moves. Multiclass: macro f1, which a
    rare class counts in as much as a common one. Regression: rmse, in the target's own unit.
    """
    return _DEFAULTS[task]


def evaluate(
    task: Task,
    truth: ArrayLike,
    outputs: Outputs,
    classes: Sequence[Hashable],
    positive: Hashable | None = None,
) -> dict[str, float]:
    """Every metric of the task that is defined on these rows, by name; never a NaN.

    `classes` is empty for regression. `positive` is the last class unless named. Raises DataError
    as `judge` does, and where the number of classes is not the task's.
    """
    rows = _judge_task(task, truth, outputs, classes, positive)
    values = {m.name: m.value(rows) for m in METRICS.values() if task in m.tasks}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def per_row_loss(
    task: Task, truth: ArrayLike, outputs: Outputs, classes: Sequence[Hashable]
) -> Floats:
    """How wrong each row (n,) was, for finding the worst ones.

    Regression: absolute error. Classification: −log P(truth), or 0 and 1 where the model gives no
    probabilities.
    """
    rows = _judge_task(task, truth, outputs, classes, None)
    if task == REGRESSION:
        return weighted.absolute_error(rows)
    if METRICS["log_loss"].measurable(rows):
        return weighted.row_log_loss(rows)
    return np.asarray(rows.truth != rows.prediction, dtype=np.float64)


def better(metric: str, a: float, b: float) -> float:
    """By how much `a` improves on `b`, in the metric's unit: positive means better."""
    return a - b if METRICS[metric].greater_is_better else b - a


def _judge_task(
    task: Task,
    truth: ArrayLike,
    outputs: Outputs,
    classes: Sequence[Hashable],
    positive: Hashable | None,
) -> Judged:
    fits = {BINARY: len(classes) == 2, MULTICLASS: len(classes) > 2, REGRESSION: not len(classes)}
    if not fits[task]:
        raise DataError(f"{task}: a target of {len(classes)} classes; declare the task that fits")
    if positive is not None:
        ordered = positive_last(classes, positive)
        if ordered != tuple(classes) and outputs.probabilities is not None:
            outputs = Outputs(outputs.prediction, outputs.score, outputs.probabilities[:, ::-1])
        classes = ordered
    return judge(truth, outputs, classes)
