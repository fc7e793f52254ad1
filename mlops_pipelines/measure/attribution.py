"""Which column's drift moves the estimated performance, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_pipelines.measure.codes import cell_codes
from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.measure.profile import ColumnProfile, Profile

_PRIOR = 10.0
"""So many rows of the mean loss are added to each cell: a cell of few rows says little."""


@dataclass(frozen=True)
class ColumnHarm:
    """What one column's drift does to the expected loss, all else as in the reference.

    `added` is positive where the drift makes answers worse, in the unit of the loss; `share` is its
    part of what all columns add in that direction, 0 to 1. `cell` is the one that adds most.
    """

    column: str
    added: float
    share: float
    cell: str


def loss_by_cell(frame: pd.DataFrame, column: ColumnProfile, loss: Floats) -> tuple[float, ...]:
    """The mean of `loss` (n,) over the rows in each cell, shrunk towards the mean of all."""
    codes, size = cell_codes(frame, Profile(0, (column,)))[:, 0], len(column.counts)
    sums = np.bincount(codes, loss, size) + _PRIOR * float(loss.mean())
    means: list[float] = (sums / (np.bincount(codes, minlength=size) + _PRIOR)).tolist()
    return tuple(means)


def harmful_columns(
    reference: Profile, window: Profile, losses: Mapping[str, Sequence[float]]
) -> tuple[ColumnHarm, ...]:
    """The columns by what their drift adds to the expected loss, the most harmful first.

    Of each column: the sum over its cells of (share in the window − share in the reference) × mean
    expected loss there. It needs no rows, so that merged profiles do. Columns that move together
    each count what they carry together: it is a ranking, not a sum.
    """
    counted = {column.name: column for column in window.columns}
    found = []
    for column in reference.columns:
        other, means = counted.get(column.name), losses.get(column.name)
        if other is None or means is None or len(means) != len(column.counts):
            continue
        if not column.n or not other.n or len(other.counts) != len(column.counts):
            continue
        moved = np.asarray(other.counts) / other.n - np.asarray(column.counts) / column.n
        centred = np.asarray(means) - np.asarray(means) @ np.asarray(column.counts) / column.n
        added = moved * centred
        found.append((column, float(added.sum()), int(np.abs(added).argmax())))
    worse = sum(added for _, added, _ in found if added > 0)
    better = -sum(added for _, added, _ in found if added < 0)
    harms = [
        ColumnHarm(
            column.name,
            added,
            abs(added) / (worse if added > 0 else better) if added else 0.0,
            column.cells[cell],
        )
        for column, added, cell in found
    ]
    return tuple(sorted(harms, key=lambda harm: (-harm.added, harm.column)))
