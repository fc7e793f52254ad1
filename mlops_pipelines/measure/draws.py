"""Pairs of windows drawn from the same rows: how two differ if nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mlops_pipelines.measure.codes import Cells

Counts = NDArray[np.integer]

CHUNK = 32
"""Rows of the pieces that windows are put together from."""

_AT_ONCE = 600
_LOOKUPS = 100_000


def grid(n: int) -> int:
    """The size that stands for n: four binary digits of it, so within 4 %, and at least 16."""
    n = max(16, n)
    step = 1 << max(0, n.bit_length() - 4)
    return (n + step // 2) // step * step


def draw_pairs(
    codes: Cells, starts: Sequence[int], window: int, references: Sequence[int], draws: int
) -> Iterator[tuple[slice, Counts, Counts]]:
    """For some columns at a time: their slice, and the counts (cells, draws) of two windows.

    Each pair is a reference of `references[column]` rows and a window of `window` rows, all drawn
    with replacement from the rows of `codes` (rows, columns), the same rows for all columns. They
    are sums of chunks of 32 rows which use each row equally often (Davison, Hinkley & Schechtman
    1986), so that both sides have the same mean; sums of many chunks are made by adding shuffled
    sums of half as many, which costs the logarithm of the rows. Always the same for the same sizes.
    """
    columns = len(references)
    place = 0
    while place < columns:
        size = references[place]
        stop = place + 1
        while (
            stop < columns
            and references[stop] == size
            and starts[stop + 1] - starts[place] <= _AT_ONCE
        ):
            stop += 1
        offsets = np.array(starts[place:stop]) - starts[place]
        flat = codes[:, place:stop] + offsets
        width = starts[stop] - starts[place]
        after, before = _windows(flat, width, (window, size), draws)
        yield slice(place, stop), before, after
        place = stop


def _windows(flat: NDArray[np.int64], width: int, sizes: Sequence[int], draws: int) -> list[Counts]:
    random = np.random.default_rng([CHUNK, draws, *sizes])
    # Moving counts about is most of the work, so they are as small as they can be.
    kind = np.int16 if 2 * max(sizes) <= np.iinfo(np.int16).max else np.int32
    totals = []
    for size in sizes:
        rest = size % CHUNK
        totals.append(_chunks(flat, width, rest, draws, kind, random))
    level = _chunks(flat, width, CHUNK, draws, kind, random)
    for digit in range(max(sizes).bit_length()):
        for total, size in zip(totals, sizes, strict=True):
            if size // CHUNK >> digit & 1:
                total += level[random.permutation(draws)]
        if max(sizes) // CHUNK >> (digit + 1):
            doubled = level[random.permutation(draws)]
            doubled += level[random.permutation(draws)]
            level = doubled
    return [np.ascontiguousarray(total.T) for total in totals]


def _chunks(
    flat: NDArray[np.int64],
    width: int,
    rows: int,
    draws: int,
    kind: type[np.integer],
    random: np.random.Generator,
) -> Counts:
    """Counts (draws, cells) of so many rows each."""
    if not rows:
        return np.zeros((draws, width), dtype=kind)
    drawn = _balanced(len(flat), rows * draws, random).reshape(draws, rows)
    counts = np.empty((draws, width), dtype=kind)
    step = max(1, _LOOKUPS // (rows * flat.shape[1]))
    for start in range(0, draws, step):
        places = flat[drawn[start : start + step]]
        wide = len(places)
        places += (np.arange(wide) * width)[:, None, None]
        counts[start : start + wide] = np.bincount(places.ravel(), minlength=width * wide).reshape(
            wide, width
        )
    return counts


def _balanced(rows: int, wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    """So many places below `rows`, each as often as any other, up to once, in random order."""
    whole = np.tile(np.arange(rows), wanted // rows)
    rest = random.permutation(rows)[: wanted % rows]
    return np.asarray(random.permutation(np.concatenate([whole, rest])))
