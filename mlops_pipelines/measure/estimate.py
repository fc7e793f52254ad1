"""What a metric will be on rows whose truth is not known yet, with the interval it will lie in.

Classification is confidence-based: with calibrated chances of every class, the expected confusion
matrix is known, and with it every metric of its counts (Guillory et al. 2021; NannyML calls it
CBPE). Regression is estimated from the loss that is expected of each row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlops_pipelines.measure.intervals import PairedDifference
from mlops_pipelines.measure.outputs import Codes, Floats

_GROUPS = 2000

CONFIDENCE = 1.959964
"""Standard deviations on each side of an interval of 95 %."""


@dataclass(frozen=True)
class Estimate:
    """A metric as it is expected of n rows; `low` to `high` holds the realised one 95 times in 100.

    That counts the chance of what each row turns out to be, and the few rows that the estimate was
    learned on; not that the world may have changed. `low` and `high` are None where the metric is
    shown only, and decides nothing.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def decides(self) -> bool:
        """Whether an alarm may rest on it."""
        return self.low is not None

    def with_error(self, shift: float, deviation: float, top: float = float("inf")) -> Estimate:
        """Moved by `shift`, and the interval widened by an error of its own; between 0 and `top`.

        `deviation` is the standard deviation of that error, independent of the sampling.
        """
        if self.low is None or self.high is None:
            return self
        extra = CONFIDENCE * deviation
        value = self.value + shift
        low = value - float(np.hypot(self.value - self.low, extra))
        high = value + float(np.hypot(self.high - self.value, extra))
        value, low, high = (float(np.clip(each, 0.0, top)) for each in (value, low, high))
        return replace(self, value=value, low=low, high=high)


def class_estimates(
    chances: Floats, prediction: Codes, calibration_variance: Floats
) -> dict[str, Estimate]:
    """Accuracy, precision, recall and F1 as they are expected; of two classes, of the last.

    `chances` (n, k) are calibrated, `prediction` (n,) places among the k classes, and
    `calibration_variance` (k, k) is that of the sum over the rows predicted j of the chance of k.
    Of three classes or more, means over the classes (macro), as in `metrics`. Intervals are those
    of a smooth function of the confusion matrix (delta method), whose rows are independent.
    """
    n, k = chances.shape
    if not n:
        return {}
    confusion = np.zeros((k, k))
    for called in range(k):
        confusion[called] = chances[prediction == called].sum(axis=0)
    found = {}
    for name, (value, gradient) in _counted(confusion).items():
        gain = gradient[prediction]
        first = np.einsum("nk,nk->n", chances, gain)
        sampling = float((np.einsum("nk,nk->n", chances, gain**2) - first**2).sum())
        centred = gradient - gradient.mean(axis=1, keepdims=True)
        # Of two classes, what one chance gains the other loses: one error, seen twice.
        learned = float((centred**2 * calibration_variance).sum()) * (2 if k == 2 else 1)
        margin = CONFIDENCE * float(np.sqrt(max(0.0, sampling + learned)))
        found[name] = Estimate(name, value, max(0.0, value - margin), min(1.0, value + margin), n)
    return found


def estimated_auc(chances: Floats, scores: Floats) -> float | None:
    """The area under the ROC curve that is expected; None where no row can be one of the classes.

    `chances` (n,) of the positive class, `scores` (n,) as the model gave them: each row counts as
    positive with its chance, and as negative with the rest.
    """
    order = np.argsort(scores, kind="stable")
    chance, score = chances[order], scores[order]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]]) if len(score) else np.array([])
    positive, negative = float(chance.sum()), float((1 - chance).sum())
    if positive <= 0 or negative <= 0:
        return None
    above, below = np.add.reduceat(chance, starts), np.add.reduceat(1 - chance, starts)
    ranked = below.cumsum() - below / 2
    return float(above @ ranked / (positive * negative))


def mean_loss(
    name: str, expected: Floats, relative_variance: float, standard_error: float
) -> Estimate:
    """The mean of a loss, whose expected values (n,) and variance relative to them are known."""
    n = len(expected)
    value = float(expected.mean())
    sampling = relative_variance * float((expected**2).sum()) / n**2
    margin = CONFIDENCE * float(np.sqrt(sampling + standard_error**2))
    return Estimate(name, value, max(0.0, value - margin), value + margin, n)


def root(estimate: Estimate, name: str) -> Estimate:
    """The square root of an estimate, such as rmse of a mean squared error."""
    assert estimate.low is not None
    assert estimate.high is not None
    low, value, high = (float(np.sqrt(x)) for x in (estimate.low, estimate.value, estimate.high))
    return Estimate(name, value, low, high, estimate.n)


def _counted(confusion: Floats) -> dict[str, tuple[float, Floats]]:
    """Each metric of a confusion matrix (predicted, true), and its derivative by each count.

    How often a class is predicted is known, so it does not vary. A class that is neither predicted
    nor expected counts as 0.
    """
    k = len(confusion)
    chosen = [1] if k == 2 else list(range(k))
    hits, called, actual = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    found = {"accuracy": (float(hits.sum() / called.sum()), np.eye(k) / called.sum())}
    for name, scale, below, moving in (
        ("precision", 1.0, called, 0.0),
        ("recall", 1.0, actual, 1.0),
        ("f1", 2.0, called + actual, 1.0),
    ):
        some = below > 0
        rate = np.divide(scale * hits, below, out=np.zeros(k), where=some)
        by_hit = np.divide(scale, below, out=np.zeros(k), where=some)
        by_actual = np.divide(-moving * rate, below, out=np.zeros(k), where=some)
        gradient = np.zeros((k, k))
        for one in chosen:
            gradient[:, one] += by_actual[one] / len(chosen)
            gradient[one, one] += by_hit[one] / len(chosen)
        found[name] = (float(rate[chosen].mean()), gradient)
    return found


def paired_losses(
    a: Floats, b: Floats, deviation: float = 0.0, *, n_resamples: int = 1000, seed: int
) -> PairedDifference:
    """How much smaller the mean of the losses `a` (n,) is than that of `b`, on the same rows.

    Percentile bootstrap, of at most 2,000 groups of rows that are drawn at random; the interval is
    widened by an independent error with this standard deviation.
    """
    random = np.random.default_rng(seed)
    difference = b - a
    groups = min(len(difference), _GROUPS)
    place = random.permutation(len(difference)) % groups
    sums, sizes = np.bincount(place, difference, groups), np.bincount(place, minlength=groups)
    drawn = random.integers(groups, size=(n_resamples, groups))
    resampled = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    resampled += deviation * random.standard_normal(n_resamples)
    low, high = (float(each) for each in np.quantile(resampled, [0.025, 0.975]))
    return PairedDifference(
        "expected loss",
        float(a.mean()),
        float(b.mean()),
        float(difference.mean()),
        low,
        high,
        len(a),
        0,
    )
