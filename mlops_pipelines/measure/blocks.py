"""How much windows differ by nature: the days or weeks of the reference beside the whole of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops_pipelines.measure.maxima import Null, two_sided
from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.measure.profile import Profile, add
from mlops_pipelines.measure.statistics import BIN, DISTANCE, SIGNED, STATISTICS, compared

MIN_BLOCKS = 8
MARGIN = 0.5
"""Decades by which a window must exceed all blocks where there are too few for a rank rule."""


@dataclass(frozen=True)
class Between:
    """What tells a window from the blocks, beyond what the draws of single rows tell.

    `extra` (5, columns) is how much larger each statistic is per harmonic row n₁·n₂/(n₁+n₂) than
    chance makes it, `largest` (blocks) the largest statistic of each block in decades, each judged
    by the others, `distances` (columns, blocks) how far they lie from the reference.
    """

    extra: Floats
    largest: Floats
    decades: Floats

    @property
    def count(self) -> int:
        """Blocks that were looked at."""
        return len(self.largest)

    def excess(self, harmonic: Floats) -> Floats:
        """By how many means evidence (5, columns, 1) is larger, at the columns' harmonic rows."""
        return np.asarray(self.extra * harmonic)[:, :, None]

    def limit(self, alpha: float) -> float:
        """What no more than a share `alpha` of the blocks reaches, or none where they are few."""
        return _limit(self.largest, alpha)

    def rank(self, value: float) -> float:
        """The share of windows like the blocks that reach `value`, at most."""
        return (1 + int((self.largest >= value).sum())) / (1 + self.count)

    def attainable(self, alpha: float) -> float:
        """The rarest false alarm that so many blocks can promise, or `alpha`."""
        return max(alpha, 1 / (1 + self.count))

    def measured(self, alpha: float, least: float, distances: Floats, floors: Floats) -> float:
        """The share of blocks that the others would have called drifted."""
        alarms = 0
        for block in range(self.count):
            others = np.delete(self.largest, block)
            limit = max(least, _limit(others, alpha))
            drifted = (self.decades[:, block] >= limit) & (distances[:, block] >= floors)
            alarms += bool(drifted.any())
        return alarms / max(1, self.count)


def _limit(largest: Floats, alpha: float) -> float:
    if not len(largest):
        return 0.0
    ordered = np.sort(largest)[::-1]
    place = int(alpha * (len(ordered) + 1))
    return float(ordered[place - 1]) if place else float(ordered[0]) + MARGIN


@dataclass(frozen=True)
class Observed:
    """The evidence of blocks beside the reference, however it is judged.

    `found` (5, columns, blocks), `harmonic` rows and what is `seen` (columns, blocks): a column
    that a block does not have says nothing there.
    """

    blocks: tuple[Profile, ...]
    found: Floats
    harmonic: Floats
    seen: NDArray[np.bool_]


def between(observed: Observed, null: Null, decades: float) -> Between:
    """What the blocks show; `decades` is how far the tail is used.

    The fewer blocks, the wider it is (as Student's beside the normal distribution's).
    """
    found, harmonic, seen = observed.found, observed.harmonic, observed.seen
    found = null.complete(found)
    halves = found.copy()
    halves[SIGNED] = found[SIGNED] ** 2 / 2
    mean = np.maximum(null.mean, 0.05)[:, :, None]
    past = np.where(seen, halves - mean, 0)
    weight = np.where(seen, mean * harmonic, 0)
    pasts, weights = past.sum(axis=2, keepdims=True), weight.sum(axis=2, keepdims=True)
    extra = _extra(pasts, weights, seen.sum(axis=1), decades)
    without = _extra(pasts - past, weights - weight, seen.sum(axis=1) - 1, decades)
    each = decades_of(null, np.where(seen, found, 0), without * harmonic).max(axis=0)
    return Between(extra[:, :, 0], each.max(axis=0, initial=0), each)


def decades_of(null: Null, found: Floats, excess: Floats) -> Floats:
    """Evidence (5, columns, windows) in decades, given by how much it is larger by nature.

    `excess` is that, in means of the null. A rank shift and what is missing move in one direction,
    so that windows only spread wider. Of all cells or the largest of them, it is the part beyond
    the null's mean that spreads, and it does so in few directions: as a squared normal deviate, if
    it is but one. Neither is more conspicuous than if there were no such excess.
    """
    shrunk = found / (1 + excess)
    shrunk[SIGNED] = found[SIGNED] / np.sqrt(1 + excess[SIGNED])
    several = [DISTANCE, BIN]
    shrunk[several] = found[several]
    decades = null.decades(shrunk)
    mean = null.mean[several][:, :, None]
    beyond = np.maximum(0, found[several] - mean) / np.maximum(excess[several] * mean, 1e-12)
    decades[several] = np.minimum(decades[several], two_sided(np.sqrt(beyond)))
    return decades


def _apart(found: Floats, factor: Floats) -> Floats:
    """Evidence (5, columns, windows) divided by a factor (columns, windows)."""
    divided = found / factor
    divided[SIGNED] = found[SIGNED] / np.sqrt(factor)
    return np.asarray(divided)


def same_columns(windows: Sequence[Profile]) -> dict[frozenset[str], list[int]]:
    """The places of the windows that have the same columns."""
    found: dict[frozenset[str], list[int]] = {}
    for place, window in enumerate(windows):
        found.setdefault(frozenset(column.name for column in window.columns), []).append(place)
    return found


def restricted(profile: Profile, names: frozenset[str]) -> Profile:
    """Only these columns of a profile."""
    return Profile(profile.n, tuple(column for column in profile.columns if column.name in names))


def observe(
    reference: Profile,
    own: Sequence[Profile],
    accepted: Sequence[Profile],
    together: int = 1,
    windows: int = 1,
) -> Observed | None:
    """Blocks of the reference's own and accepted windows; None where there are fewer than eight.

    What is judged is a sum of so many `windows`: as many of the accepted ones are taken together,
    and of its own as many as are as long, unless too few would be left.
    """
    blocks, inside = [*own, *accepted], len(own)
    runs = [*_runs(own, together), *_runs(accepted, windows)]
    if len(runs) >= MIN_BLOCKS:
        blocks, inside = runs, len(own) // together
    if len(blocks) < MIN_BLOCKS:
        return None
    return Observed(tuple(blocks), *_compared(reference, blocks, inside))


def _runs(blocks: Sequence[Profile], length: int) -> list[Profile]:
    """Each so many blocks after each other as one; what is left over at the end is not used."""
    starts = range(0, len(blocks) - length + 1, length)
    return [add(*blocks[start : start + length]) for start in starts]


def _compared(
    reference: Profile, blocks: Sequence[Profile], inside: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Of blocks of which the first `inside` are part of the reference."""
    columns = reference.columns
    found = np.zeros((len(STATISTICS), len(columns), len(blocks)))
    harmonic = np.ones((len(columns), len(blocks)))
    seen = np.zeros((len(columns), len(blocks)), dtype=bool)
    for names, at in same_columns(blocks).items():
        places = [place for place, column in enumerate(columns) if column.name in names]
        some = [blocks[place] for place in at]
        here = np.ix_(places, at)
        seen[here] = True
        n = np.array([[max(1, columns[place].n)] for place in places])
        m = np.array([[max(1, block.n) for block in some]])
        harmonic[here] = n * m / (n + m)
        # A block that is part of what it is compared with looks closer than it is.
        part = (np.array(at) < inside) & (m < n)
        apart = np.where(part, (n - m) / (n + m), 1.0)
        evidence = compared(restricted(reference, names), some)
        found[np.ix_(range(len(STATISTICS)), places, at)] = _apart(evidence, apart)
    return found, harmonic, seen


def _extra(past: Floats, weight: Floats, blocks: NDArray[np.int64], decades: float) -> Floats:
    """How much larger each statistic is than chance makes it, per harmonic row and never less."""
    from scipy.special import ndtri, stdtrit

    count = blocks[None, :, None]
    tail = 10.0 ** -min(decades, 8.0) / 2
    wider = (stdtrit(np.maximum(2, count - 1), tail) / ndtri(tail)) ** 2
    raw = np.maximum(0, past) / np.maximum(weight, 1e-12)
    known = np.broadcast_to(count >= 2, raw.shape)
    typical = np.median(raw[:, known[0, :, 0]], axis=1, keepdims=True) if known.any() else 0.0
    return np.asarray(np.where(known, raw, typical) * wider)
