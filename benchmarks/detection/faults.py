"""One column of a window changed, in one of the ways that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Fault:
    """What is done to a column.

    `fits(reference column)` says to which columns it can be done, `change(window's column,
    reference column, random numbers (rows,))` does it.
    """

    name: str
    fits: Callable[[pd.Series[Any]], bool]
    change: Callable[[pd.Series[Any], pd.Series[Any], Any], pd.Series[Any]]

    def apply(
        self, window: pd.DataFrame, reference: pd.DataFrame, random: np.random.Generator
    ) -> pd.DataFrame | None:
        """The window with one column changed, drawn anew each time; None where none fits."""
        fitting = [name for name in window if self.fits(reference[name])]
        if not fitting:
            return None
        name = fitting[random.integers(len(fitting))]
        drawn = random.random(len(window))
        return window.assign(**{str(name): self.change(window[name], reference[name], drawn)})


def _continuous(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and column.nunique() > 20


def _has_rare_level(column: pd.Series[Any]) -> bool:
    if pd.api.types.is_numeric_dtype(column):
        return False
    return bool(column.value_counts(normalize=True).iloc[-1] <= 0.1)


def _whole(column: pd.Series[Any]) -> bool:
    return not column.isna().any()


def _shift(by: float) -> Fault:
    def change(now: pd.Series[Any], was: pd.Series[Any], _drawn: Any) -> pd.Series[Any]:
        step = by * float(was.std())
        return now + (max(1, round(step)) if pd.api.types.is_integer_dtype(was) else step)

    return Fault(f"shift by {by} sd", _continuous, change)


def _rare(share: float) -> Fault:
    def change(now: pd.Series[Any], was: pd.Series[Any], drawn: Any) -> pd.Series[Any]:
        return now.where(drawn >= share, was.value_counts().index[-1])

    return Fault(f"{share:.0%} to the rarest level", _has_rare_level, change)


def _missing(share: float) -> Fault:
    def change(now: pd.Series[Any], _was: pd.Series[Any], drawn: Any) -> pd.Series[Any]:
        return now.where(drawn >= share)

    return Fault(f"{share:.0%} missing", _whole, change)


FAULTS = (
    *(_shift(by) for by in (0.25, 0.5, 1.0)),
    *(_rare(share) for share in (0.1, 0.25)),
    *(_missing(share) for share in (0.05, 0.2)),
)
