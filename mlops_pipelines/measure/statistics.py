"""How far the counts of two windows lie apart, by column and statistic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops_pipelines.measure.outputs import Codes, Floats
from mlops_pipelines.measure.profile import ColumnProfile, Profile

STATISTICS = ("distance", "ranks", "one bin", "missing", "ranks alone")
"""Jensen–Shannon distance; rank shift; the largest change of one bin; change of what is missing;
and the part of the rank shift that those of the other columns do not explain."""

DISTANCE, RANKS, BIN, MISSING, ALONE = range(5)
SIGNED = [RANKS, ALONE]

LEAST = 5
RAREST = 1 / 4000

_TABLE = 4_000_000


@dataclass(frozen=True)
class Layout:
    """Which counts of each column are taken together, and where these cells lie on one long axis.

    `cells` says for each count of each column which cell of the column it belongs to; `missing` is
    the last. What lies beyond an end belongs to the bin at that end, since where the ends are
    follows from the very rows that were counted.
    """

    kinds: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, reference: Profile) -> Layout:
        """The layout of a reference's columns."""
        return cls(
            tuple(column.kind for column in reference.columns),
            tuple(_cells_of(column) for column in reference.columns),
        )

    @property
    def starts(self) -> tuple[int, ...]:
        """The first cell of each column, then the number of all cells."""
        sizes = [each[-1] + 1 for each in self.cells]
        return (0, *np.cumsum(sizes, dtype=int).tolist())

    def columns(self) -> list[tuple[str, slice]]:
        """Kind and cells of each column."""
        ends = zip(self.starts, self.starts[1:], strict=False)
        return [(kind, slice(*each)) for kind, each in zip(self.kinds, ends, strict=True)]

    def part(self, some: slice) -> Layout:
        """The layout of some columns next to each other."""
        return Layout(self.kinds[some], self.cells[some])

    def count(self, profiles: Sequence[Profile]) -> Codes:
        """The counts (cells, profiles) of profiles with the reference's bins."""
        counted = np.zeros((self.starts[-1], len(profiles)), dtype=np.int64)
        for cells, (_, of), counts in zip(
            self.cells, self.columns(), by_column(profiles), strict=True
        ):
            np.add.at(counted[of], list(cells), counts)
        return counted


def _cells_of(column: ColumnProfile) -> tuple[int, ...]:
    last = len(column.counts) - 1
    if column.kind == "categorical":
        return tuple(range(last + 1))
    return (0, *range(last - 2), last - 3, last - 2)


def open_ends(profile: Profile) -> NDArray[np.bool_]:
    """Which columns have values of which some lie beyond the ends by chance: not the few-valued."""
    return np.array(
        [
            column.kind == "numeric" and column.edges[-1] > column.edges[-2]
            for column in profile.columns
        ],
        dtype=bool,
    )


def by_column(profiles: Sequence[Profile]) -> list[Codes]:
    """The counts (cells, profiles) of each column of profiles with the same bins, one at least."""
    counts = np.array([each.cells for each in profiles]).T
    ends = np.cumsum([len(column.counts) for column in profiles[0].columns], dtype=int)
    return np.split(counts, ends[:-1]) if len(ends) else []


def compared(reference: Profile, windows: Sequence[Profile]) -> Floats:
    """The evidence (5, columns, windows) of windows against one reference.

    Rows beyond an end, of which the reference has none, count for `one bin`: of k of them, chance
    shows as many or more with (n / (n + N))^k.
    """
    layout = Layout.of(reference)
    after = layout.count(windows)
    before = np.broadcast_to(layout.count([reference]), after.shape)
    found = evidence(layout, before, after)
    counted = by_column(windows)
    for place, column in enumerate(reference.columns):
        if column.kind == "numeric":
            counts = counted[place]
            beyond = np.maximum(counts[0], counts[-2])
            step = np.log1p(column.n / np.maximum(1, counts.sum(axis=0)))
            found[BIN, place] = np.maximum(found[BIN, place], beyond * step)
    return found


def evidence(layout: Layout, reference: NDArray[np.integer], window: NDArray[np.integer]) -> Floats:
    """The statistics (5, columns, windows) of counts (cells, windows) on both sides, but the last.

    All are halves of a deviance, so the natural logarithm of how much likelier the two windows are
    with shares of their own: of all cells for `distance` (Jensen–Shannon with the windows' weights
    is its multiple), of one cell against the rest for `one bin` and `missing`. `ranks` is the
    Wilcoxon statistic, standardised with its ties, and has a sign: above 0 where values grew.
    `ranks alone` is left at 0: `Null.complete` knows how columns move together.
    Cells that hold too few rows of both windows together are taken as one; both, since those that
    hold many of one of them by chance would hold fewer of the other.
    """
    found = np.zeros((len(STATISTICS), len(layout.kinds), window.shape[1]))
    for place, (kind, of) in enumerate(layout.columns()):
        before, after = reference[of], window[of]
        n_before, n_after = before.sum(axis=0), after.sum(axis=0)
        largest = int((n_before + n_after).max(initial=0))
        xlogx = _xlogx(largest, 8 * before.size)
        if kind == "numeric":
            found[RANKS, place] = _ranks(before[:-1], after[:-1])
        before, after = _common(before, after, n_before, n_after)
        both = before + after
        part = xlogx(before) + xlogx(after) - xlogx(both)
        whole = xlogx(n_before) + xlogx(n_after) - xlogx(n_before + n_after)
        found[DISTANCE, place] = np.maximum(0, part.sum(axis=0) - whole)
        rest = xlogx(n_before - before) + xlogx(n_after - after)
        rest -= xlogx(n_before + n_after - both)
        single = part + rest - whole
        found[BIN, place] = single[:-1].max(axis=0, initial=0)
        found[MISSING, place] = np.maximum(0, single[-1])
    return found


def _common(
    before: NDArray[np.integer],
    after: NDArray[np.integer],
    n_before: NDArray[np.integer],
    n_after: NDArray[np.integer],
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """The counts of common cells, of the rare ones together, and of what is missing."""
    both, n = before[:-1] + after[:-1], n_before + n_after
    rare = both < np.maximum(LEAST * n / np.maximum(1, n_before), RAREST * n)
    sides = []
    for side in (before, after):
        few = np.where(rare, side[:-1], 0)
        sides.append(np.concatenate([side[:-1] - few, few.sum(axis=0, keepdims=True), side[-1:]]))
    return sides[0], sides[1]


def _ranks(before: NDArray[np.integer], after: NDArray[np.integer]) -> Floats:
    both = (before + after).astype(np.float64)
    n_before, n_after = before.sum(axis=0), after.sum(axis=0)
    n = np.maximum(1, both.sum(axis=0))
    ranks = (np.cumsum(both, axis=0) - both / 2) / n
    variance = (both * ranks**2).sum(axis=0) / n - 0.25
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = (after * ranks).sum(axis=0) / n_after - (before * ranks).sum(axis=0) / n_before
        z = shift / np.sqrt(variance * (1 / n_before + 1 / n_after))
    return np.nan_to_num(z, nan=0.0, posinf=0.0, neginf=0.0)


def _xlogx(largest: int, lookups: int) -> Callable[[NDArray[np.integer]], Floats]:
    if largest > min(_TABLE, lookups):
        return lambda counts: np.asarray(counts * np.log(np.maximum(counts, 1)))
    values = np.arange(largest + 1, dtype=np.float64)
    table = values * np.log(np.maximum(values, 1))
    return lambda counts: np.asarray(table[counts])


def divergence(before: NDArray[np.integer], after: NDArray[np.integer]) -> Floats:
    """Jensen–Shannon divergence in bits of counts (cells, windows) of one column, 0 to 1."""
    p, q = (each / np.maximum(1, each.sum(axis=0)) for each in (before, after))
    middle = (p + q) / 2
    shares = _plogp(p) / 2 + _plogp(q) / 2 - _plogp(middle)
    return np.asarray(shares.sum(axis=0) / np.log(2))


def _plogp(shares: Floats) -> Floats:
    return np.asarray(shares * np.log(np.maximum(shares, 1e-300)))
