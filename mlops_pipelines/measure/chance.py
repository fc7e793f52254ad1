"""How many rows it takes to see a distance, and what distance so many rows show."""

from __future__ import annotations

from math import log

import numpy as np


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


def one_sided(alpha: float) -> float:
    """Standard deviations that a normal value exceeds on one given side with chance `alpha`."""
    from scipy.special import ndtri

    return float(-ndtri(alpha))


def student(alpha: float, degrees: int) -> float:
    """The same of a mean whose standard deviation rests on `degrees` + 1 values."""
    from scipy.special import stdtrit

    return float(-stdtrit(max(1, degrees), alpha))
