"""From a model's scores to chances that came true: isotonic calibration, kept as breakpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mlops_pipelines.measure.outputs import Floats

_DIGITS = 9


@dataclass(frozen=True)
class Calibration:
    """The chance of an event as a rising function of a score, linear between breakpoints.

    At `scores` (rising), the mean score of `rows` rows each, the event came true in the share
    `rates`. Beyond the first and the last the chance stays as it is there.
    """

    scores: tuple[float, ...]
    rates: tuple[float, ...]
    rows: tuple[int, ...]

    def __call__(self, scores: ArrayLike) -> Floats:
        """The chance (n,) of the event at `scores` (n,)."""
        chances: Floats = np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.rates)
        return chances

    def variance_of_sum(self, scores: Floats) -> float:
        """The variance of the sum of chances at `scores`, since the rates rest on few rows each.

        Each rate has that of a binomial share, with one success and one failure added.
        """
        if not len(scores):
            return 0.0
        at = np.asarray(self.scores)
        above = np.clip(np.searchsorted(at, scores, side="right"), 1, max(1, len(at) - 1))
        below = above - 1
        weight = np.zeros(len(scores))
        if len(at) > 1:
            weight = np.clip((scores - at[below]) / (at[above] - at[below]), 0.0, 1.0)
        reliance = np.bincount(below, 1 - weight, len(at) + 1)[: len(at)]
        reliance += np.bincount(above, weight, len(at) + 1)[: len(at)]
        rows = np.asarray(self.rows, dtype=np.float64)
        smoothed = (np.asarray(self.rates) * rows + 1) / (rows + 2)
        return float(reliance**2 @ (smoothed * (1 - smoothed) / rows))

    def to_json(self) -> dict[str, Any]:
        """As a JSON value; `from_json` reads it back."""
        return {
            "scores": [round(score, _DIGITS) for score in self.scores],
            "rates": [round(rate, _DIGITS) for rate in self.rates],
            "rows": list(self.rows),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Calibration:
        """The calibration that `to_json` wrote down."""
        return cls(tuple(found["scores"]), tuple(found["rates"]), tuple(found["rows"]))


def calibrate(scores: ArrayLike, event: ArrayLike) -> Calibration:
    """Fit by isotonic regression to n scores and whether the event (0 or 1) came true.

    Pool-adjacent-violators (Barlow et al. 1972; for classifiers Zadrozny & Elkan 2002). Each pool
    becomes one breakpoint at its mean score, so that chances between two pools are between theirs.
    Raises ValueError where there is no row.
    """
    from scipy.optimize import isotonic_regression

    score = np.asarray(scores, dtype=np.float64)
    if not len(score):
        raise ValueError("calibration: there are no rows to fit it on")
    distinct, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    came_true = np.bincount(place, np.asarray(event, dtype=np.float64)) / counts
    fitted = isotonic_regression(came_true, weights=counts)
    starts = fitted.blocks[:-1]
    rows = np.add.reduceat(counts, starts)
    middle = np.add.reduceat(distinct * counts, starts) / rows
    return Calibration(
        tuple(middle.tolist()), tuple(fitted.x[starts].tolist()), tuple(rows.tolist())
    )
