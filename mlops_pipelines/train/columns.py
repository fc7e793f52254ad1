"""The four types a column may have, and frames brought into them."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError

ColumnType = Literal["double", "long", "string", "boolean"]


@dataclass(frozen=True)
class Column:
    """One feature: its name, its type, and whether it was ever null in the snapshot."""

    name: str
    type: ColumnType
    nullable: bool


def typed(values: pd.Series, where: str) -> tuple[pd.Series, str]:
    """`values` in canonical form, and their type: a ColumnType, or `time`.

    Integers become int64 (float64 where some are null), other numbers float64, booleans bool
    (object with None where some are null), text and categories of text pandas' str, times
    datetime64[us, UTC]. Raises DataError, naming `where`, for anything else.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    kind = values.dtype
    if pd.api.types.is_bool_dtype(kind):
        return _boolean(values), "boolean"
    if pd.api.types.is_integer_dtype(kind):
        if values.isna().any():
            return values.astype("float64"), "double"
        if kind == np.dtype("uint64") and len(values) and values.max() > np.iinfo(np.int64).max:
            return values.astype("float64"), "double"
        return values.astype("int64"), "long"
    if pd.api.types.is_float_dtype(kind):
        return values.astype("float64"), "double"
    if pd.api.types.is_datetime64_any_dtype(kind):
        return as_times(values, where), "time"
    if isinstance(kind, pd.StringDtype):
        return _text(values), "string"
    if kind == np.dtype(object):
        return _from_objects(values, where)
    raise DataError(
        f"{where}: holds {kind}; numbers, text, booleans or times were expected; "
        "convert it in the source, or name it in data.drop"
    )


def as_times(values: pd.Series, where: str) -> pd.Series:
    """`values` as datetime64[us, UTC]; times without a zone are taken as UTC."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        raise DataError(f"{where}: holds {values.dtype}; times were expected, such as 2026-01-31")
    times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    lost = int((times.isna() & values.notna()).sum())
    if lost:
        raise DataError(
            f"{where}: {lost} of {len(values)} values are no times; "
            "ISO 8601 was expected, such as 2026-01-31T08:00:00"
        )
    return times.astype("datetime64[us, UTC]")


def select(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The model's `columns` of `frame`, in their order and dtype; other columns are left out.

    double is float64, long int64 (float64 where nullable), boolean bool (object where nullable),
    string str with NaN. Raises DataError where a column is missing or of another type.
    """
    missing = [column.name for column in columns if column.name not in frame.columns]
    if missing:
        raise DataError(f"the model needs {', '.join(missing)}; the rows have no such column")
    return pd.DataFrame(
        {column.name: _as_type(frame[column.name], column) for column in columns},
        index=frame.index,
    )


def _as_type(values: pd.Series, column: Column) -> pd.Series:
    if column.type == "string":
        return _text(values)
    if column.type == "boolean":
        return _boolean(values)
    whole = column.type == "long" and not column.nullable
    try:
        return values.astype("int64" if whole else "float64")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {column.name!r}: holds {values.dtype}, or nulls; {column.type} was expected"
        ) from error


def _boolean(values: pd.Series) -> pd.Series:
    if not values.isna().any():
        return values.astype(bool)
    return values.astype(object).where(values.notna(), None)


def _text(values: pd.Series) -> pd.Series:
    # None and NaN are two different categories to scikit-learn; pandas' str has NaN alone.
    return values.astype("str").where(values.notna(), None).astype("str")


def _from_objects(values: pd.Series, where: str) -> tuple[pd.Series, str]:
    kinds = set(map(type, values[values.notna()]))
    if kinds <= {bool, np.bool_}:
        # A column that is null throughout has no kind of its own.
        return (_boolean(values), "boolean") if kinds else (values.astype("float64"), "double")
    if all(issubclass(kind, str) for kind in kinds):
        return _text(values), "string"
    if all(issubclass(kind, int | np.integer) for kind in kinds) and bool not in kinds:
        return typed(values.astype("Int64"), where)
    numbers = (int, float, decimal.Decimal, np.number)
    if all(issubclass(kind, numbers) for kind in kinds) and bool not in kinds:
        return values.astype("float64"), "double"
    if all(issubclass(kind, dt.date) for kind in kinds):
        return as_times(values.astype(str).where(values.notna(), None), where), "time"
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(
        f"{where}: mixes or holds {found}; one of numbers, text, booleans or times was expected; "
        "convert it in the source, or name it in data.drop"
    )
