"""Rates and metrics of one group of rows: their values, and what resampling its rows makes of them.

Values are fairlearn's where it has them (MetricFrame; Bird et al. 2020). Its import adds a
hundredth of a second to scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.measure import weighted
from mlops_pipelines.measure.metrics import METRICS
from mlops_pipelines.measure.outputs import Codes, Floats, Judged

_BLOCK = 250_000  # counts held at once


def by_group(
    rates: Sequence[str], rows: Judged, places: Mapping[str, Codes]
) -> dict[str, dict[str, float]]:
    """Each of `rates` (see fairness.GAPS) of each group, whose rows lie at `places`."""
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate
    from fairlearn.metrics import true_positive_rate as found_rate
    from sklearn.metrics import accuracy_score, mean_absolute_error

    kept: dict[str, Any] = {
        "selection_rate": selection_rate,
        "true_positive_rate": found_rate,
        "false_positive_rate": false_positive_rate,
        "accuracy": accuracy_score,
        "mae": mean_absolute_error,
        "mean_error": lambda truth, predicted: float(np.mean(predicted - truth)),
    }
    of_frame = {rate: kept[rate] for rate in rates if rate in kept}
    values: dict[str, dict[str, float]] = {value: {} for value in places}
    if of_frame and places:
        names = np.empty(len(rows), dtype=object)
        for value, at in places.items():
            names[at] = value
        frame = MetricFrame(
            metrics=of_frame,
            y_true=rows.truth,
            y_pred=rows.prediction,
            sensitive_features=pd.Series(names, name="group"),
        )
        for value, row in frame.by_group.iterrows():
            values[str(value)].update({rate: float(row[rate]) for rate in of_frame})
    for rate in rates:
        if rate not in kept:
            for value, at in places.items():
                values[value][rate] = METRICS[rate].value(take(rows, at))
    return values


def drawn(
    rates: Sequence[str], part: Judged, resamples: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Each rate of one group under resamples (resamples,) of its rows."""
    n = len(part)
    under = {rate: _weighted(rate, part) for rate in rates}
    size = max(1, _BLOCK // n)
    blocks: dict[str, list[Floats]] = {rate: [] for rate in rates}
    for start in range(0, resamples, size):
        rows = rng.integers(n, size=(min(size, resamples - start), n))
        counts = np.array([np.bincount(row, minlength=n) for row in rows], dtype=np.float64)
        for rate in rates:
            blocks[rate].append(under[rate](counts))
    return {rate: np.concatenate(found) for rate, found in blocks.items()}


def counted(rate: str, part: Judged) -> int:
    """How many rows of a group tell of the rate: of a ranking, those of the rarer class."""
    positive, negative = int((part.truth == 1).sum()), int((part.truth == 0).sum())
    if rate in ("true_positive_rate", "recall"):
        return positive
    if rate == "false_positive_rate":
        return negative
    ranked = rate in ("roc_auc", "average_precision", "precision", "f1")
    return min(positive, negative) if ranked and part.n_classes == 2 else len(part)


def least_error(rate: str, part: Judged) -> float:
    """The least standard error of a share: one that no row shows is not known to be nought."""
    shares = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
    bounded = rate in shares or (rate in METRICS and part.n_classes > 0 and rate != "log_loss")
    return 1 / max(counted(rate, part), 1) if bounded else 0.0


def take(rows: Judged, at: Codes) -> Judged:
    """The rows at these places."""
    return Judged(
        rows.truth[at],
        rows.prediction[at],
        None if rows.score is None else rows.score[at],
        None if rows.probabilities is None else rows.probabilities[at],
        rows.n_classes,
    )


def _weighted(rate: str, part: Judged) -> weighted.Weighted:
    """The rate as a function of row weights (m, n)."""
    if rate in METRICS:
        if not METRICS[rate].measurable(part):
            return lambda counts: np.full(len(counts), np.nan)
        return METRICS[rate].prepare(part)
    if rate == "mean_error":
        return weighted.mean_of(np.asarray(part.prediction - part.truth, dtype=np.float64))
    selected = np.asarray(part.prediction == 1, dtype=np.float64)
    if rate == "selection_rate":
        return weighted.mean_of(selected)
    of = np.asarray(part.truth == (rate == "true_positive_rate"), dtype=np.float64)
    return lambda counts: weighted.ratio(counts @ (selected * of), counts @ of)
