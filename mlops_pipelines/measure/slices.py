"""Where a model does badly: by declared segment, and row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mlops_pipelines.measure.outputs import Codes

T = TypeVar("T")


@dataclass(frozen=True)
class Slice(Generic[T]):
    """The n rows where a segment column holds one value; `result` is None on too few rows."""

    segment: str
    value: str
    n: int
    result: T | None


def by_slice(
    segments: pd.DataFrame, measure: Callable[[Codes], T], min_rows: int = 20
) -> tuple[Slice[T], ...]:
    """What `measure` says of the row positions of each value of each column, in order of value.

    Rows without a value make a slice of their own, named "missing". Slices below `min_rows` are
    listed, but not measured.
    """
    slices = []
    for segment in segments.columns:
        values = segments[segment].astype(object)
        names = values.map(str).where(values.notna(), "missing")
        for value, rows in sorted(names.groupby(names).indices.items()):
            result = measure(rows.astype(np.int64)) if len(rows) >= min_rows else None
            slices.append(Slice(str(segment), str(value), len(rows), result))
    return tuple(slices)


def worst_rows(loss: ArrayLike, k: int) -> Codes:
    """Positions of the `k` largest losses (fewer where there are fewer), the worst first."""
    return np.argsort(-np.asarray(loss), kind="stable")[:k].astype(np.int64)
