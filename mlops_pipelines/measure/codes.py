"""Rows as the cells of a profile that they are counted in, so that columns keep to their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_pipelines.measure.profile import ColumnProfile, Profile, level

Cells = NDArray[np.uint8]


def cell_codes(frame: pd.DataFrame, profile: Profile) -> Cells:
    """The place in `counts` of each row's cell: (rows, columns).

    A column that the frame does not have is missing throughout.
    """
    codes = np.empty((len(frame), len(profile.columns)), dtype=np.uint8)
    for place, column in enumerate(profile.columns):
        if column.name not in frame.columns:
            codes[:, place] = len(column.counts) - 1
        elif column.kind == "numeric":
            codes[:, place] = _numbers(frame[column.name], column)
        else:
            codes[:, place] = _levels(frame[column.name], column)
    return codes


def _numbers(series: pd.Series[Any], column: ColumnProfile) -> NDArray[np.int64]:
    missing = series.isna().to_numpy(dtype=bool)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    read = pd.to_numeric(series, errors="coerce")
    values = np.array(read.to_numpy(dtype=np.float64, na_value=np.nan))
    gone = missing | ~np.isfinite(values)
    cells = np.searchsorted(np.array(column.edges[:-1]), values, side="right").astype(np.int64)
    cells[values > column.edges[-1]] = len(column.edges)
    cells[gone] = len(column.counts) - 1
    return cells


def _levels(series: pd.Series[Any], column: ColumnProfile) -> NDArray[np.int64]:
    places = {name: place for place, name in enumerate(column.levels)}
    numbers, values = pd.factorize(series.astype(object))
    other = len(column.levels)
    cells = np.array([places.get(level(value), other) for value in values] + [other + 1])
    return np.asarray(cells[numbers], dtype=np.int64)
