"""Which columns an engine counts crossed with each other, and profiles from what it answers."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import fsum, prod
from typing import Any

import numpy as np
import pyarrow as pa

from mlops_pipelines.measure.outputs import Codes, Floats
from mlops_pipelines.measure.profile import Profile
from mlops_pipelines.measure.window import MISSING, OTHER, Segments

Levels = tuple[tuple[str, tuple[str, ...]], ...]
"""The segment columns, and the values that are told apart of each."""

COLUMNS_CROSSED = 2
CELLS_CROSSED = 4096
PARTS_CROSSED = 256
"""At most so many columns, cells and parts of segments at a time."""

ANSWER = ("pack", "batch", "cell", "n", *(f"total{at}" for at in range(COLUMNS_CROSSED)))
"""The engine's answer: rows and sums by cell of each batch of columns and pack of segments."""


def packs(levels: Levels) -> list[Levels]:
    """Segment columns that are crossed with each other, since that takes one pass for all."""
    found: list[Levels] = [()]
    for each in levels:
        if found[-1] and prod(shape_of((*found[-1], each))) > PARTS_CROSSED:
            found.append(())
        found[-1] = (*found[-1], each)
    return found


def shape_of(pack: Levels) -> tuple[int, ...]:
    """How many parts each segment column makes: its values, all others, and missing."""
    return tuple(len(values) + 2 for _, values in pack)


def batches(reference: Profile, names: Container[str], pack: Levels) -> list[tuple[int, ...]]:
    """Places of columns that are crossed with each other and the pack; one at least, of none.

    Two columns crossed take an engine little longer than one, and their counts add up to each.
    """
    room = CELLS_CROSSED // prod(shape_of(pack))
    found: list[tuple[int, ...]] = [()]
    for place, column in enumerate(reference.columns):
        if column.name not in names:
            continue
        last = found[-1]
        size = column.size * prod(reference.columns[other].size for other in last)
        if last and (size > room or len(last) == COLUMNS_CROSSED):
            found.append(())
        found[-1] = (*found[-1], place)
    return found


def assembled(
    tables: Sequence[pa.Table], reference: Profile, names: Container[str], levels: Levels
) -> tuple[Profile, Segments]:
    """The engine's answers as profiles."""
    found = {name: _together(tables, name) for name in ANSWER}
    whole: Profile | None = None
    segments: dict[str, dict[str, Profile]] = {}
    for at, pack in enumerate(packs(levels)):
        shape = shape_of(pack)
        rows = np.zeros(prod(shape), dtype=np.int64)
        counts: dict[int, Codes] = {}
        totals: dict[int, Floats] = {}
        for number, batch in enumerate(batches(reference, names, pack)):
            own = (found["pack"] == at) & (found["batch"] == number)
            sizes = [reference.columns[place].size for place in batch]
            # The first varies fastest; the last of all is the part.
            *cells, part = np.unravel_index(found["cell"][own], (*sizes, prod(shape)), order="F")
            n = found["n"][own]
            if number == 0:
                np.add.at(rows, part, n)
            for axis, place in enumerate(batch):
                counts[place] = np.zeros((prod(shape), sizes[axis]), dtype=np.int64)
                np.add.at(counts[place], (part, cells[axis]), n)
                there = cells[axis] < sizes[axis] - 1
                totals[place] = np.zeros(prod(shape))
                if reference.columns[place].kind == "numeric":
                    sums = found[f"total{axis}"][own][there]
                    np.add.at(totals[place], part[there], sums)
        every = np.ones(prod(shape), dtype=bool)
        whole = whole or _profile(reference, every, rows, counts, totals)
        for axis, (name, values) in enumerate(pack):
            owner = np.unravel_index(np.arange(prod(shape)), shape, order="F")[axis]
            parts = {
                value: _profile(reference, owner == place, rows, counts, totals)
                for place, value in enumerate((*values, OTHER, MISSING))
            }
            segments[name] = {value: part for value, part in parts.items() if part.n}
    assert whole is not None
    return whole, segments


def _together(tables: Sequence[pa.Table], name: str) -> np.ndarray[Any, Any]:
    # Engines differ in what they make of a sum of nothing, and of a count.
    kind = pa.float64() if name.startswith("total") else pa.int64()
    return np.concatenate([table[name].cast(kind).to_numpy() for table in tables])


def _profile(
    reference: Profile,
    parts: np.ndarray[Any, np.dtype[np.bool_]],
    rows: Codes,
    counts: Mapping[int, Codes],
    totals: Mapping[int, Floats],
) -> Profile:
    """Of the rows (parts,), counts (parts, cells) and totals (parts,), those of some parts."""
    n = int(rows[parts].sum())
    columns = []
    for place, column in enumerate(reference.columns):
        if place in counts:
            own = counts[place][parts].sum(axis=0).tolist()
            columns.append(column.with_counts(own, fsum(totals[place][parts])))
        else:
            columns.append(column.with_counts([*[0] * (column.size - 1), n], 0.0))
    return Profile(n, tuple(columns))
