"""What chance alone does to the distance between two windows of one column."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from mlops_pipelines.measure.outputs import Codes, Floats

_FIRST_LOOK = 199
_SECOND_LOOK = 19_800
_ENOUGH = 10
_MOST_ROWS = 500_000_000  # numpy draws from at most 1e9


@dataclass(frozen=True)
class Comparison:
    """How far two windows of one column lie apart, beside what chance does.

    `distance` is Jensen–Shannon (0 same, 1 nothing in common), less what chance alone shows.
    `p_value` is the chance of a difference this large, were all rows from one population.
    """

    distance: float
    p_value: float


def compare(reference: Codes, window: Codes, rng: np.random.Generator, needed: float) -> Comparison:
    """Counts (k,) of the same cells in two windows, tested by permutation of the rows.

    All rows are shuffled and dealt out anew, which for counts is a draw from the multivariate
    hypergeometric distribution; the statistic is the likelihood ratio G, and p = (1 + as large) /
    (1 + draws), which never claims too much (Phipson & Smyth 2010). Drawing stops early where the
    first draws already show p to be large (Besag & Clifford 1991). Where p must fall below what
    20,000 draws can show, to `needed`, the tail is continued by a gamma distribution of the draws'
    mean and variance or by G's own chi-squared distribution, whichever claims less.
    """
    reference, window = _bounded(reference, window)
    both = reference + window
    n_window = int(window.sum())
    if np.count_nonzero(both) < 2 or not n_window or not reference.sum():
        return Comparison(0.0, 1.0)
    used = both > 0
    reference, window, both = reference[used], window[used], both[used]

    def draw(size: int) -> Codes:
        return rng.multivariate_hypergeometric(both, n_window, size=size)

    observed = float(_g(both, window[None])[0])
    dealt = draw(_FIRST_LOOK)
    expected = float(_divergence(both - dealt, dealt).mean())
    divergence = float(_divergence(reference[None], window[None])[0])
    distance = float(np.sqrt(max(0.0, divergence - expected)))

    statistics = _g(both, dealt)
    if _as_large(statistics, observed) < _ENOUGH:
        more = min(_SECOND_LOOK, int(np.ceil(2 / needed)))
        statistics = np.concatenate([statistics, _g(both, draw(more))])
    reached = _as_large(statistics, observed)
    p_value = (1 + reached) / (1 + len(statistics))
    if not reached and needed < p_value:
        p_value = min(p_value, _tail(statistics, observed, len(both)))
    return Comparison(distance, p_value)


def rows_to_show(distance: float, cells: int, alpha: float, power: float = 0.8) -> float:
    """Rows that show this distance with this power at level alpha: n₁·n₂/(n₁+n₂) of two windows.

    G is about noncentral chi-squared with 8·n₁n₂/(n₁+n₂)·JSD (in nats) and cells − 1 degrees.
    """
    return _noncentrality(cells, alpha, power) / (8 * distance**2 * log(2))


def distance_shown(rows: float, cells: int, alpha: float, power: float = 0.8) -> float:
    """The distance that so many rows, n₁·n₂/(n₁+n₂), show with this power; 1 at most."""
    shown = _noncentrality(cells, alpha, power) / (8 * rows * log(2))
    return float(min(1.0, np.sqrt(shown)))


def _noncentrality(cells: int, alpha: float, power: float) -> float:
    from scipy.special import chdtri, chndtrinc

    degrees = max(1, cells - 1)
    return float(chndtrinc(chdtri(degrees, alpha), degrees, 1 - power))


def _bounded(reference: Codes, window: Codes) -> tuple[Codes, Codes]:
    """Fewer rows of the same shares where there are more than can be drawn from."""
    shrink = int(reference.sum() + window.sum()) // _MOST_ROWS + 1
    return reference // shrink, window // shrink


def _as_large(statistics: Floats, observed: float) -> int:
    return int((statistics >= observed - 1e-9 * max(1.0, observed)).sum())


def _tail(statistics: Floats, observed: float, cells: int) -> float:
    from scipy.special import chdtrc, gammaincc

    tail = float(chdtrc(cells - 1, observed))
    mean, variance = statistics.mean(), statistics.var()
    if variance > 0:
        tail = max(tail, float(gammaincc(mean**2 / variance, observed * mean / variance)))
    return tail


def _xlogx(values: Floats | Codes) -> Floats:
    result = values * np.log(np.maximum(values, 1e-300))
    return np.asarray(result, dtype=np.float64)


def _g(both: Codes, window: Codes) -> Floats:
    """The likelihood ratio (r,) of windows (r, k) of the pooled counts (k,)."""
    n, n_window = both.sum(), window.sum(axis=1)
    cells = (_xlogx(window) + _xlogx(both - window) - _xlogx(both)).sum(axis=1)
    statistic: Floats = 2 * (cells - _xlogx(n_window) - _xlogx(n - n_window) + _xlogx(n))
    return statistic


def _divergence(reference: Codes, window: Codes) -> Floats:
    """Jensen–Shannon divergence (r,) in bits between rows of counts (r, k)."""
    p = reference / reference.sum(axis=1, keepdims=True)
    q = window / window.sum(axis=1, keepdims=True)
    divergence: Floats = contributions(p, q).sum(axis=1) / log(2)
    return divergence


def contributions(p: Floats, q: Floats) -> Floats:
    """What each cell adds to the Jensen–Shannon divergence of shares (r, k), in nats."""
    return (_xlogx(p) + _xlogx(q)) / 2 - _xlogx((p + q) / 2)
