"""Points for the pictures of a classifier: ROC curve, calibration curve, confusion matrix."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.outputs import Codes, Floats, Outputs, judge
from mlops_pipelines.measure.weighted import calibration_bins, confidence


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve, from (0, 0) to (1, 1).

    Rows that score at least `threshold` are called positive.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    threshold: Floats


@dataclass(frozen=True)
class CalibrationCurve:
    """Claimed against observed probability in up to ten bins of equal mass, and rows in each."""

    claimed: Floats
    observed: Floats
    n: Codes


def roc_curve(
    truth: ArrayLike, outputs: Outputs, classes: Sequence[Hashable], of: Hashable | None = None
) -> RocCurve:
    """The ROC curve of one class against the rest: the last class unless `of` names one of several.

    Raises DataError where the class is all or none of the rows, or there are no probabilities.
    """
    rows = judge(truth, outputs, classes)
    code = len(classes) - 1 if of is None else list(classes).index(of)
    if rows.n_classes == 2 and rows.score is not None:
        score = rows.score if code == 1 else 1 - rows.score
    elif rows.probabilities is not None:
        score = rows.probabilities[:, code]
    else:
        raise DataError("roc_curve: the model gives no probabilities")
    positive = rows.truth == code
    if positive.all() or not positive.any():
        raise DataError(f"roc_curve: {int(positive.sum())} of {len(rows)} rows are of the class")

    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[score[order][1:] != score[order][:-1], True])
    hits = positive[order].cumsum()[last]
    misses = last + 1 - hits
    # Points inside a straight stretch draw nothing.
    corner = np.r_[True, (np.diff(hits, 2) != 0) | (np.diff(misses, 2) != 0), True][: len(last)]
    return RocCurve(
        np.r_[0.0, misses[corner] / misses[-1]],
        np.r_[0.0, hits[corner] / hits[-1]],
        np.r_[np.inf, score[order][last][corner]],
    )


def calibration_curve(
    truth: ArrayLike, outputs: Outputs, classes: Sequence[Hashable]
) -> CalibrationCurve:
    """The curve whose mean distance from the diagonal is the metric calibration_error.

    Raises DataError where there are no rows or no probabilities.
    """
    rows = judge(truth, outputs, classes)
    if not len(rows) or (rows.score if rows.n_classes == 2 else rows.probabilities) is None:
        raise DataError(f"calibration_curve: expected probabilities; {len(rows)} rows")
    score, event = confidence(rows)
    bins = calibration_bins(score)
    n = np.bincount(bins)
    used = n > 0
    return CalibrationCurve(
        np.bincount(bins, score)[used] / n[used],
        np.bincount(bins, event)[used] / n[used],
        n[used].astype(np.int64),
    )


def confusion_matrix(truth: ArrayLike, outputs: Outputs, classes: Sequence[Hashable]) -> Codes:
    """Rows by true class (down) and predicted class (across): (k, k) counts."""
    rows = judge(truth, outputs, classes)
    k = len(classes)
    cells = rows.truth.astype(np.int64) * k + rows.prediction.astype(np.int64)
    return np.bincount(cells, minlength=k * k).reshape(k, k).astype(np.int64)
