"""How far chance alone moves a metric, and the difference between two models on the same rows.

Percentile bootstrap (Efron & Tibshirani 1993, chapters 13 and 16) over rows that are drawn
independently of each other. A resample is a row of counts, so metrics are computed for a block of
resamples at once; a block is bounded, so memory is that of about ten copies of one column.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.metrics import METRICS, better
from mlops_pipelines.measure.outputs import Floats, Outputs, judge

_BLOCK = 250_000  # counts held at once: 2 MB, which stays in a core's cache


@dataclass(frozen=True)
class Interval:
    """A metric on n rows, with its confidence interval; `undefined` resamples were left out."""

    value: float
    low: float
    high: float
    n: int
    undefined: int


@dataclass(frozen=True)
class PairedDifference:
    """A metric of two models on the same n rows.

    `improvement` of a over b, and its interval, are in the metric's unit; positive means that a is
    better, whichever way the metric runs. `undefined` resamples were left out.
    """

    metric: str
    a: float
    b: float
    improvement: float
    low: float
    high: float
    n: int
    undefined: int

    @property
    def clearly_better(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0

    @property
    def clearly_worse(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high < 0


def bootstrap_interval(
    metric: str,
    truth: ArrayLike,
    outputs: Outputs,
    classes: Sequence[Hashable],
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> Interval:
    """A metric with its interval. Of two classes the last is positive; none means regression.

    Raises DataError where the metric is undefined on these rows, and as `judge` does.
    """
    found = bootstrap_intervals(
        [metric],
        truth,
        outputs,
        classes,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
    )
    return found[metric]


def bootstrap_intervals(
    metrics: Sequence[str],
    truth: ArrayLike,
    outputs: Outputs,
    classes: Sequence[Hashable],
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, Interval]:
    """Each of `metrics` with the interval of `bootstrap_interval`, all by the same draws.

    Raises DataError where one of them is undefined on these rows, and as `judge` does.
    """
    found = _resampled(metrics, truth, [outputs], classes, n_resamples, seed)
    intervals = {}
    for metric, (values, resampled) in found.items():
        low, high, undefined = _percentiles(metric, resampled[0], len(outputs), confidence)
        intervals[metric] = Interval(values[0], low, high, len(outputs), undefined)
    return intervals


def paired_bootstrap(
    metric: str,
    truth: ArrayLike,
    a: Outputs,
    b: Outputs,
    classes: Sequence[Hashable],
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> PairedDifference:
    """How much better `a` is than `b`, both judged on the same rows in every resample.

    Raises DataError where the metric is undefined on these rows, and as `judge` does.
    """
    found, resampled = _resampled([metric], truth, [a, b], classes, n_resamples, seed)[metric]
    sign = better(metric, 1, 0)
    differences = sign * (resampled[0] - resampled[1])
    low, high, undefined = _percentiles(metric, differences, len(a), confidence)
    improvement = better(metric, found[0], found[1])
    return PairedDifference(metric, found[0], found[1], improvement, low, high, len(a), undefined)


def _resampled(
    metrics: Sequence[str],
    truth: ArrayLike,
    models: Sequence[Outputs],
    classes: Sequence[Hashable],
    n_resamples: int,
    seed: int,
) -> dict[str, tuple[list[float], Floats]]:
    """Each metric of each model, and under each resample (models, n_resamples)."""
    judged = [judge(truth, outputs, classes) for outputs in models]
    n = len(judged[0])
    values = {metric: [METRICS[metric].value(rows) for rows in judged] for metric in metrics}
    for metric, found in values.items():
        if not np.isfinite(found).all():
            raise DataError(
                f"{metric}: undefined on these {n} rows; expected every class among them and, "
                "where the metric needs them, probabilities"
            )
    prepared = {metric: [METRICS[metric].prepare(rows) for rows in judged] for metric in metrics}
    blocks: dict[str, list[list[Floats]]] = {metric: [] for metric in metrics}
    for counts in _resamples(n, n_resamples, seed):
        for metric, models_under in prepared.items():
            blocks[metric].append([under(counts) for under in models_under])
    return {metric: (values[metric], np.concatenate(blocks[metric], axis=1)) for metric in metrics}


def _resamples(n: int, n_resamples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // n)
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        drawn = rng.integers(n, size=(size, n))
        drawn += np.arange(size)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _percentiles(
    metric: str, values: Floats, n: int, confidence: float
) -> tuple[float, float, int]:
    defined = values[np.isfinite(values)]
    if not len(defined):
        raise DataError(f"{metric}: undefined in every resample of these {n} rows; add rows")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high), len(values) - len(defined)
