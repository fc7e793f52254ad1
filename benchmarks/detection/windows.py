"""The windows of one reference, changed and unchanged, as ours and the peers judge them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from benchmarks.detection.faults import FAULTS
from benchmarks.detection.populations import REFERENCE_ROWS, Population

NONE = "none"


@dataclass(frozen=True)
class Batch:
    """One reference, and windows of n rows by what was done to them (`none`: nothing)."""

    population: Population
    n: int
    number: int
    reference: pd.DataFrame
    windows: dict[str, list[pd.DataFrame]] = field(default_factory=dict)


def batch(population: Population, n: int, number: int, unchanged: int, changed: int) -> Batch:
    """The same for the same numbers; reference and windows are drawn independently."""
    random = np.random.default_rng([n, number, *population.name.encode()])
    rows = population.draw(REFERENCE_ROWS + n * unchanged, random)
    reference, rest = rows.iloc[:REFERENCE_ROWS], rows.iloc[REFERENCE_ROWS:]
    windows = {NONE: [rest.iloc[at * n : (at + 1) * n] for at in range(unchanged)]}
    for fault in FAULTS:
        found = [fault.apply(population.draw(n, random), reference, random) for _ in range(changed)]
        windows[fault.name] = [window for window in found if window is not None]
    return Batch(population, n, number, reference, windows)
