"""The largest statistic over all columns, beside what it is if nothing changed.

Each statistic is put on one scale, decades of its own upper tail, and the largest is judged against
the largest of each draw (Westfall & Young 1993). Columns that always move together thus count once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
from numpy.typing import NDArray

from mlops_pipelines.measure.codes import Cells
from mlops_pipelines.measure.draws import draw_pairs, grid
from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.measure.statistics import (
    ALONE,
    BIN,
    DISTANCE,
    MISSING,
    RANKS,
    SIGNED,
    STATISTICS,
    Layout,
    divergence,
    evidence,
)

_DECADE = log(10)
_ENOUGH = 20
_FITTED = 100
_MOST_ROWS = 8192
_MOST_TIMES = 32
_RIDGE = 0.02
_EXPLAINED = 0.3


@dataclass(frozen=True)
class Null:
    """What chance does to the evidence (5, columns) of a window, in `draws` draws.

    `mean` (5, columns) is its mean in half deviances, `spread` (columns) the mean divergence in
    bits times the harmonic rows n₁·n₂/(n₁+n₂); `together` (columns, columns) says how rank shifts
    correlate in the `rows` that were drawn from, and `largest` (columns, draws) is each column's
    largest statistic in decades. `shapes`, `scales`, `starts` and `slopes` (columns) are of the
    tails.
    """

    shapes: Floats
    scales: Floats
    starts: Floats
    slopes: Floats
    signs: NDArray[np.int64]
    together: Floats
    rows: int
    mean: Floats
    spread: Floats
    largest: NDArray[np.float32]

    def complete(self, found: Floats, without: Iterable[int] = ()) -> Floats:
        """The evidence with `ranks alone`, what is left of each rank shift beside the others'.

        A column that little of is explained has none. Those `without` explain nothing.
        """
        found = found.copy()
        gone = set(without)
        kept = [place for place in range(len(self.signs)) if place not in gone]
        found[ALONE] = 0
        found[ALONE, kept] = (
            _left(self.together[np.ix_(kept, kept)], self.rows) @ found[RANKS, kept]
        )
        return found

    def decades(self, found: Floats) -> Floats:
        """Evidence (5, columns, windows) in decades: 3 is reached by chance about once in 1,000.

        Where a column has a direction, all of it counts only if its ranks moved that way.
        """
        scaled = np.empty_like(found)
        scaled[DISTANCE] = _gamma_decades(found[DISTANCE], self.shapes, self.scales)
        sign = self.signs[:, None]
        for place in SIGNED:
            z = np.where(sign == 0, np.abs(found[place]), found[place] * sign)
            scaled[place] = np.where(sign == 0, two_sided(z), _one_sided(z))
        past = found[BIN] - self.starts[:, None]
        below = found[BIN] / np.maximum(self.starts, 1e-12)[:, None]
        scaled[BIN] = np.where(past > 0, 1 + past / self.slopes[:, None] / _DECADE, below)
        # A half deviance is what Chernoff's bound needs: it claims too little, also of few rows.
        scaled[MISSING] = found[MISSING] / _DECADE
        return np.asarray(np.where((sign == 0) | (found[RANKS] * sign > 0), scaled, 0))

    def chance(self, value: float) -> float:
        """How often the largest statistic of all columns reaches `value` by chance."""
        return chance_of(self._maxima(), value)

    def limit(self, alpha: float) -> float:
        """The value that the largest statistic reaches by chance with probability `alpha`."""
        maxima = self._maxima()
        low, high = 0.0, float(maxima.max(initial=0)) + 30
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if chance_of(maxima, middle) > alpha else (low, middle)
        return high

    def _maxima(self) -> NDArray[np.float32]:
        return np.asarray(self.largest.max(axis=0, initial=0))


def two_sided(z: Floats) -> Floats:
    """The decades of a normal deviate's size."""
    return np.asarray(np.maximum(0, _one_sided(z) - np.log10(2)))


def _one_sided(z: Floats) -> Floats:
    from scipy.special import log_ndtr

    return np.asarray(-log_ndtr(-z) / _DECADE)


def chance_of(maxima: NDArray[np.floating], value: float) -> float:
    """(1 + as large) / (1 + draws), and beyond the largest draws an exponential that claims less.

    The exponential is fitted to the 100 largest; its mean is taken one standard error too large.
    """
    draws = len(maxima)
    reached = int(np.count_nonzero(maxima >= value - 1e-6))
    if reached >= _ENOUGH or draws <= _FITTED:
        return (1 + reached) / (1 + draws)
    top = np.sort(np.partition(maxima, -_FITTED)[-_FITTED:].astype(np.float64))
    slope = float((top - top[0]).mean()) * (1 + _FITTED**-0.5)
    start = float(top[-_ENOUGH])
    return float((1 + _ENOUGH) / (1 + draws) * np.exp(-(value - start) / max(slope, 1e-12)))


def _gamma_decades(found: Floats, shapes: Floats, scales: Floats) -> Floats:
    from scipy.special import gammaincc, gammaln

    shape, x = shapes[:, None], found / scales[:, None]
    tail = gammaincc(shape, x)
    with np.errstate(divide="ignore"):
        far = (shape - 1) * np.log(np.maximum(x, 1e-300)) - x - gammaln(shape)
        decades = -np.where(tail > 1e-280, np.log(np.maximum(tail, 1e-300)), far) / _DECADE
    return np.asarray(np.maximum(0, decades))


def make_null(
    layout: Layout,
    codes: Cells,
    ends: NDArray[np.bool_],
    window: int,
    references: Sequence[int],
    draws: int,
    signs: Sequence[int],
    *,
    joint: bool,
) -> Null:
    """Draw pairs of a window and a reference of so many rows and see how far they lie apart.

    `codes` (rows, columns) are cells of `layout`; `references` the rows of each column, `ends`
    whether values can lie beyond its ends, `signs` 1 or -1 where only growing or shrinking counts.
    Unless `joint`, columns are drawn independently and do not explain each other.
    """
    columns = len(layout.kinds)
    found = np.zeros((len(STATISTICS), columns, draws))
    spread = np.zeros(columns)
    for some, before, after in draw_pairs(codes, layout.starts, window, references, draws):
        part = layout.part(some)
        found[:, some] = evidence(part, before, after)
        for place, (_, of) in enumerate(part.columns()):
            rows = references[some.start] * window / (references[some.start] + window)
            apart = divergence(before[of, : _FITTED * 5], after[of, : _FITTED * 5])
            spread[some.start + place] = apart.mean() * rows
    random = np.random.default_rng([columns, draws])
    for column in np.flatnonzero(ends).tolist():
        found[BIN, column] = np.maximum(
            found[BIN, column], _beyond(window, references[column], draws, random)
        )
    together = found[RANKS] @ found[RANKS].T / draws if joint else np.zeros((columns, columns))
    mean = found.mean(axis=2)
    mean[SIGNED] = 0.5
    variance = found[DISTANCE].var(axis=1)
    scales = np.where(variance > 0, variance / np.maximum(mean[DISTANCE], 1e-12), 1.0)
    shapes = np.where(variance > 0, mean[DISTANCE] / scales, 1.0)
    starts = np.quantile(found[BIN], 0.9, axis=1)
    past = np.maximum(0, found[BIN] - starts[:, None])
    slopes = np.maximum(1.0, past.sum(axis=1) / np.maximum(1, (past > 0).sum(axis=1)))
    null = Null(
        shapes,
        scales,
        starts,
        slopes,
        np.array(signs, dtype=np.int64),
        together,
        len(codes),
        mean,
        spread,
        np.zeros((columns, 0), dtype=np.float32),
    )
    largest = null.decades(null.complete(found)).max(axis=0, initial=0).astype(np.float32)
    return replace(null, largest=largest)


def _left(together: Floats, rows: int) -> Floats:
    """The matrix that takes from each rank shift what the others explain, standardised."""
    still = np.diag(together) < 0.5
    together = np.where(still[:, None] | still[None, :], 0, together)
    inverse = np.linalg.inv(together + np.diag(np.where(still, 1, _RIDGE)))
    spread = np.sqrt(np.diag(inverse @ together @ inverse))
    # What explains the rows that it was learned on explains others a little less.
    spread *= np.sqrt(1 + 2 * np.count_nonzero(~still) / rows)
    explained = 1 - 1 / np.maximum(1, np.diag(inverse) * np.diag(together))
    useful = ~still & (explained > _EXPLAINED)
    return np.asarray(inverse * (useful / np.maximum(spread, 1e-12))[:, None])


def _beyond(window: int, reference: int, draws: int, random: np.random.Generator) -> Floats:
    """The evidence of the rows beyond either end: by chance, k or more with (n / (n + N))^k."""
    step = np.log1p(reference / window)
    ends = random.exponential(size=(2, draws)).max(axis=0)
    return np.asarray(np.floor(ends / step) * step)


def bounded(window: int, references: Sequence[int]) -> tuple[int, list[int]]:
    """Sizes of windows of which chance makes about the same: more rows only take more time."""
    if not references:
        return grid(window), []
    shrink = max(1.0, min(window, min(references)) / _MOST_ROWS)
    rows = max(16, round(window / shrink))
    others = [max(16, round(n / shrink)) for n in references]
    rows = min(rows, _MOST_TIMES * max(others))
    return grid(rows), [grid(min(n, _MOST_TIMES * rows)) for n in others]
