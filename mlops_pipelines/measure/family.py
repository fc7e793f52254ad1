"""All columns of one window judged together, at one promised rate of false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from mlops_pipelines.measure.blocks import (
    Between,
    Observed,
    between,
    decades_of,
    restricted,
    same_columns,
)
from mlops_pipelines.measure.maxima import Null, chance_of
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.measure.profile import Profile
from mlops_pipelines.measure.statistics import (
    ALONE,
    STATISTICS,
    by_column,
    compared,
    divergence,
)

_ENOUGH = 27
_DRAWS = (4_000, 10_000)
_WIDE = 100
_STEPS = 20


@dataclass(frozen=True)
class Found:
    """What one window shows.

    By column: the largest statistic in `decades` and its name, the chance of one as large somewhere
    (stepped down), whether that is `significant`, the `distances` less what chance makes. Then the
    largest of all and its `limit`, its `chance`, the `attainable` rate of false alarms and the one
    `measured` on the reference's own blocks, if there are any.
    """

    decades: Floats
    statistics: tuple[str, ...]
    chances: Floats
    significant: NDArray[np.bool_]
    distances: Floats
    largest: float
    limit: float
    chance: float
    attainable: float
    measured: float | None
    blocks: int


def judge(
    reference: Reference,
    window: Profile,
    alpha: float,
    floors: Floats,
    directions: Mapping[str, str],
    observed: Observed | None,
    against: Profile | None = None,
    *,
    rough: bool = False,
) -> Found:
    """The window against the reference, or against another window of the same bins.

    `observed` are the reference's own blocks, and earlier windows in which nothing was wrong. Where
    it may be `rough`, fewer draws are made, and more is left to the fitted tail, which claims less.
    """
    rough |= len(reference.profile.columns) > _WIDE
    draws = _DRAWS[0] if rough else min(max(_DRAWS[0], ceil(_ENOUGH / alpha)), _DRAWS[1])
    before = reference.profile if against is None else against
    null = reference.null(window.n, draws, directions, None if against is None else against.n)
    harmonic = _harmonic(before, window)
    evidence = compared(before, [window])
    distances = corrected(before, [window], null)[:, 0]
    least = null.limit(alpha)
    blocks = None if observed is None else between(observed, null, least)
    excess = np.zeros(evidence.shape)
    if blocks is not None:
        # Two windows differ from each other by what both differ from the reference.
        sides = 1 if against is None else 2
        excess = blocks.excess(sides * harmonic)
    limit = least if blocks is None else max(least, blocks.limit(alpha))
    scaled = _explained(null, evidence, excess, limit)
    decades = scaled.max(axis=0, initial=0)
    largest = float(decades.max(initial=0))
    chances = _stepped_down(null, decades)
    measured, attainable, chance = None, alpha, null.chance(largest)
    if blocks is not None and observed is not None:
        chances = np.maximum(chances, [blocks.rank(each) for each in decades])
        chance = max(chance, blocks.rank(largest))
        attainable = blocks.attainable(alpha)
        if against is None:
            measured = _measured(reference.profile, observed, blocks, null, alpha, least, floors)
        significant = decades >= limit
    else:
        significant = chances <= alpha
    return Found(
        decades,
        tuple(STATISTICS[place] for place in scaled.argmax(axis=0)),
        chances,
        significant,
        distances,
        largest,
        limit,
        chance,
        attainable,
        measured,
        0 if blocks is None else blocks.count,
    )


def _explained(null: Null, evidence: Floats, excess: Floats, limit: float) -> Floats:
    """Decades (5, columns), where a column that changed no longer explains the others.

    A column that moved alone makes those look moved that should have moved with it, though less
    than itself. So those that are conspicuous without the others are taken first, then the most
    conspicuous of the rest, and each time what is left is judged without them.
    """
    scaled = decades_of(null, null.complete(evidence), excess)[:, :, 0]
    taken = np.delete(scaled, ALONE, axis=0).max(axis=0, initial=0) >= limit
    for _ in range(_STEPS):
        again = decades_of(null, null.complete(evidence, np.flatnonzero(taken)), excess)[:, :, 0]
        scaled[:, ~taken] = again[:, ~taken]
        left = np.where(taken, 0, scaled.max(axis=0, initial=0))
        if not left.size or left.max() < limit:
            break
        taken[left.argmax()] = True
    return scaled


def corrected(reference: Profile, windows: Sequence[Profile], null: Null) -> Floats:
    """Jensen–Shannon distances (columns, windows) less what chance alone shows; 0 to 1."""
    found = np.zeros((len(reference.columns), len(windows)))
    for place, (column, after) in enumerate(
        zip(reference.columns, by_column(windows), strict=True)
    ):
        before = np.repeat(np.array(column.counts)[:, None], len(windows), axis=1)
        # These cells are empty only because the bins were made from these very rows.
        for cell in (0, -2) if column.kind == "numeric" else (-2,):
            before[cell] = np.maximum(before[cell], np.minimum(after[cell], 1))
        n, m = max(1, column.n), np.maximum(1, after.sum(axis=0))
        by_chance = null.spread[place] * (n + m) / (n * m)
        found[place] = np.sqrt(np.maximum(0, divergence(before, after) - by_chance))
    return found


def _harmonic(before: Profile, after: Profile) -> Floats:
    pairs = zip(before.columns, after.columns, strict=True)
    return np.array([a.n * b.n / max(1, a.n + b.n) for a, b in pairs])


def _measured(
    reference: Profile,
    observed: Observed,
    blocks: Between,
    null: Null,
    alpha: float,
    least: float,
    floors: Floats,
) -> float:
    windows = observed.blocks
    apart = np.ones_like(blocks.decades)
    for names, places in same_columns(windows).items():
        some = restricted(reference, names)
        columns = [place for place, each in enumerate(reference.columns) if each.name in names]
        part = replace(null, spread=null.spread[columns])
        apart[np.ix_(columns, places)] = corrected(some, [windows[at] for at in places], part)
    return blocks.measured(alpha, least, apart, floors)


def _stepped_down(null: Null, decades: Floats) -> Floats:
    """The chance of each column's largest statistic among the columns that are no larger."""
    chances = np.ones(len(decades))
    order = np.argsort(decades, kind="stable")
    highest = np.zeros(null.largest.shape[1], dtype=np.float32)
    for place in order:
        highest = np.maximum(highest, null.largest[place])
        chances[place] = chance_of(highest, float(decades[place]))
    worst = 0.0
    for place in order[::-1]:
        worst = chances[place] = max(worst, chances[place])
    return chances
