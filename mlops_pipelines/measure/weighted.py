"""Each metric as a function of row weights, so that a thousand resamples cost one matrix product.

Every function here takes judged rows and returns a function from weights (r, n) to values (r,),
NaN where the metric is undefined under those weights. A bootstrap resample is a row of weights that
says how often each row was drawn; the metric itself is the row of ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlops_pipelines.measure.outputs import Codes, Floats, Judged

Weighted = Callable[[Floats], Floats]

CALIBRATION_BINS = 10


def ratio(above: Floats, below: Floats) -> Floats:
    """`above / below`, NaN where `below` is zero."""
    result: Floats = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=result, where=below != 0)
    return result


def mean_of(values: Floats) -> Weighted:
    """The weighted mean of one value per row."""
    return lambda weights: ratio(weights @ values, weights.sum(axis=1))


def accuracy(rows: Judged) -> Weighted:
    """Share of rows whose predicted label is the true one."""
    return mean_of((rows.truth == rows.prediction).astype(np.float64))


def label_rate(kind: Literal["precision", "recall", "f1"]) -> Callable[[Judged], Weighted]:
    """Precision, recall or F1: of the positive class, or the plain mean over the classes (macro).

    A class that is neither true nor predicted anywhere does not count; a positive class that is
    never true has no recall. Elsewhere 0/0 is 0, as in scikit-learn.
    """

    def prepare(rows: Judged) -> Weighted:
        chosen = [1] if rows.n_classes == 2 else list(range(rows.n_classes))
        true = (rows.truth[:, None] == np.array(chosen)).astype(np.float64)
        predicted = (rows.prediction[:, None] == np.array(chosen)).astype(np.float64)

        def rate(weights: Floats) -> Floats:
            hits, actual, called = weights @ (true * predicted), weights @ true, weights @ predicted
            if kind == "f1":
                values = ratio(2 * hits, actual + called)
            else:
                values = np.nan_to_num(ratio(hits, called if kind == "precision" else actual))
            counts = actual > 0 if kind == "recall" and len(chosen) == 1 else actual + called > 0
            return ratio(
                np.where(counts, values, 0.0).sum(axis=1), counts.sum(axis=1).astype(np.float64)
            )

        return rate

    return prepare


def roc_auc(rows: Judged) -> Weighted:
    """Area under the ROC curve; of three classes or more the plain mean of one against the rest."""
    if rows.n_classes == 2:
        assert rows.score is not None
        return _auc(rows.truth == 1, rows.score)
    assert rows.probabilities is not None
    each = [_auc(rows.truth == code, rows.probabilities[:, code]) for code in range(rows.n_classes)]
    return lambda weights: np.mean([area(weights) for area in each], axis=0)


def average_precision(rows: Judged) -> Weighted:
    """Sum of precision over the steps of recall, from the highest score down."""
    assert rows.score is not None
    positive = (rows.truth == 1).astype(np.float64)
    gather = _by_score(-rows.score)

    def value(weights: Floats) -> Floats:
        hits = gather(weights * positive)
        called = gather(weights)
        found = hits.sum(axis=1)
        precision = np.nan_to_num(ratio(hits.cumsum(axis=1), called.cumsum(axis=1)))
        result = ratio((hits * precision).sum(axis=1), found)
        return np.where(found < weights.sum(axis=1), result, np.nan)

    return value


def log_loss(rows: Judged) -> Weighted:
    """Mean negative log probability of the true class, in nats."""
    return mean_of(row_log_loss(rows))


def row_log_loss(rows: Judged) -> Floats:
    """−log P(truth) of each row (n,), in nats; probabilities are kept 2.2e-16 away from 0 and 1."""
    codes = rows.truth.astype(np.int64)
    if rows.n_classes == 2:
        assert rows.score is not None
        chance = np.where(codes == 1, rows.score, 1 - rows.score)
    else:
        assert rows.probabilities is not None
        chance = rows.probabilities[np.arange(len(rows)), codes]
    tiny = np.finfo(np.float64).eps
    loss: Floats = -np.log(np.clip(chance, tiny, 1 - tiny))
    return loss


def brier(rows: Judged) -> Weighted:
    """Mean squared distance of the score from the outcome (Brier 1950)."""
    assert rows.score is not None
    return mean_of((rows.score - (rows.truth == 1)) ** 2)


def calibration_error(rows: Judged) -> Weighted:
    """Expected calibration error over ten bins of equal mass, which resamples share.

    Two classes: P(positive) against how often it was positive (Naeini et al. 2015). More: the
    probability of the likeliest class against how often it was right (Guo et al. 2017). Equal mass:
    Nguyen & O'Connor 2015. Biased upward on few rows.
    """
    score, event = confidence(rows)
    member = (calibration_bins(score)[:, None] == np.arange(CALIBRATION_BINS)).astype(np.float64)
    gap = member * (score - event)[:, None]
    return lambda weights: ratio(np.abs(weights @ gap).sum(axis=1), weights.sum(axis=1))


def confidence(rows: Judged) -> tuple[Floats, Floats]:
    """The probability that was claimed (n,), and whether it came true (n,) as 0 or 1."""
    if rows.n_classes == 2:
        assert rows.score is not None
        return rows.score, (rows.truth == 1).astype(np.float64)
    assert rows.probabilities is not None
    likeliest = rows.probabilities.argmax(axis=1)
    return rows.probabilities.max(axis=1), (likeliest == rows.truth).astype(np.float64)


def calibration_bins(score: Floats) -> Codes:
    """The bin (n,) of each score, 0 to 9, about equally many in each; equal scores share one."""
    inner = np.quantile(score, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
    return np.searchsorted(inner, score, side="right").astype(np.int64)


def mae(rows: Judged) -> Weighted:
    """Mean absolute error, in the target's unit."""
    return mean_of(absolute_error(rows))


def absolute_error(rows: Judged) -> Floats:
    """|truth − prediction| of each row (n,), in the target's unit."""
    error: Floats = np.abs(rows.truth - rows.prediction).astype(np.float64)
    return error


def rmse(rows: Judged) -> Weighted:
    """Root of the mean squared error, in the target's unit."""
    squared = mean_of(absolute_error(rows) ** 2)
    return lambda weights: np.sqrt(squared(weights))


def r2(rows: Judged) -> Weighted:
    """Share of the target's variance that is explained; undefined where the target is constant."""
    # Around one of the targets themselves, so that a constant target has exactly no spread.
    centred = rows.truth - np.sort(rows.truth)[len(rows) // 2]
    residual = absolute_error(rows) ** 2
    columns = np.column_stack([residual, centred, centred**2])

    def value(weights: Floats) -> Floats:
        left, first, second = (weights @ columns).T
        spread = second - ratio(first**2, weights.sum(axis=1))
        return 1 - ratio(left, np.where(spread > 1e-12 * second, spread, 0.0))

    return value


def _auc(positive: NDArray[np.bool_], score: Floats) -> Weighted:
    gather = _by_score(score)
    is_positive = positive.astype(np.float64)

    def value(weights: Floats) -> Floats:
        hits = weights * is_positive
        above = gather(hits)
        others = gather(weights - hits)
        below = others.cumsum(axis=1) - others / 2
        return ratio((above * below).sum(axis=1), above.sum(axis=1) * others.sum(axis=1))

    return value


def _by_score(score: Floats) -> Callable[[Floats], Floats]:
    """Sums weights (r, n) over equal scores, in ascending order of score."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if len(starts) == len(score):
        return lambda weights: weights[:, order]
    return lambda weights: np.add.reduceat(weights[:, order], starts, axis=1)
