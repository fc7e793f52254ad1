"""What our verdict says of windows, with and without the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mlops_pipelines.measure.codes import Cells, cell_codes
from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column, Profile, reference_profile

FLOOR = 0.1


@dataclass(frozen=True)
class Judged:
    """The chance of a window's largest statistic, and of the largest that reaches the floor."""

    chance: float
    above_floor: float


def open_reference(rows: pd.DataFrame, columns: tuple[Column, ...]) -> Reference:
    """As training makes it."""
    return Reference.of(rows, reference_profile(rows, columns))


def judged(reference: Reference, windows: Sequence[pd.DataFrame]) -> list[Judged]:
    """A window is an alarm at the rate alpha where its chance is at most alpha."""
    return [_judged(reference, profile) for profile in _profiles(reference.profile, windows)]


def _judged(reference: Reference, window: Profile) -> Judged:
    found = drift_verdict(reference, window, false_alarms_per_year=1, floor=1e-9, visible=0.5)
    above = [each.p_value for each in found.columns if each.distance >= FLOOR]
    lowest = min((each.p_value for each in found.columns), default=1.0)
    return Judged(lowest, min(above, default=1.0))


def _profiles(like: Profile, windows: Sequence[pd.DataFrame]) -> list[Profile]:
    """As `profile_like` counts them, all at once and without the sums."""
    if not windows:
        return []
    rows = len(windows[0])
    codes = cell_codes(pd.concat(windows, ignore_index=True), like)
    codes = codes.reshape(len(windows), rows, len(like.columns))
    return [
        Profile(
            rows,
            tuple(
                replace(column, counts=_counts(each[:, place], len(column.counts)), total=0.0)
                for place, column in enumerate(like.columns)
            ),
        )
        for each in codes
    ]


def _counts(codes: Cells, cells: int) -> tuple[int, ...]:
    return tuple(np.bincount(codes, minlength=cells).tolist())
