"""Counts per bin of each column: what is kept of a window of rows.

Profiles of the same bins add: hours to a day, replicas to a service, sites to a fleet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from math import fsum
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.outputs import Codes, Floats

Kind = Literal["numeric", "categorical"]

SCHEMA = 1
MAX_BINS = 20
ROWS_PER_BIN = 50
MAX_LEVELS = 50

LARGEST = 1e290
"""A number beyond ± this counts as missing, so that a sum of any rows stays finite everywhere."""

NUMBER = r"[+-]?([0-9]{1,40}[.]?[0-9]{0,40}|[.][0-9]{1,40})([eE][+-]?([0-9]{1,2}|[12][0-4][0-9]))?"
"""Text that is read as a number where a column that held numbers holds text."""

_NUMBER = re.compile(NUMBER, re.ASCII)


@dataclass(frozen=True)
class Column:
    """A column to watch, and how its values are read."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class ColumnProfile:
    """How often each cell of one column was seen.

    Numeric: `edges` are the m lower edges of the bins, then the upper end of the range; `counts`
    are below the range, the m bins, above it, missing (or not a finite number); `total` is the sum
    of the values. Categorical: `levels`, and `counts` of each, of all others, of missing.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...]
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def bins(self) -> tuple[Any, ...]:
        """What two profiles of one column must have in common to be compared or added."""
        return self.name, self.kind, self.edges, self.levels

    @property
    def size(self) -> int:
        """How many cells there are."""
        return 2 + (len(self.edges) if self.kind == "numeric" else len(self.levels))

    def with_counts(self, counts: Sequence[int], total: float) -> ColumnProfile:
        """Other rows in the same bins."""
        return ColumnProfile(self.name, self.kind, self.edges, self.levels, tuple(counts), total)

    @property
    def n(self) -> int:
        """Rows counted."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Mean of the values that are there; None where there are none, and for categories."""
        present = self.n - self.counts[-1]
        return self.total / present if present and self.kind == "numeric" else None

    @property
    def cells(self) -> tuple[str, ...]:
        """What each count is of, in words."""
        if self.kind == "categorical":
            return (*(f"{level!r}" for level in self.levels), "other levels", "missing")
        low = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{a} to {b}" for a, b in pairwise(low)]
        return (f"below {low[0]}", *between, f"above {low[-1]}", "missing")


@dataclass(frozen=True)
class Profile:
    """The column profiles of a window of n rows."""

    n: int
    columns: tuple[ColumnProfile, ...]

    @cached_property
    def cells(self) -> Codes:
        """All counts of all columns, one after the other."""
        return np.array([n for column in self.columns for n in column.counts], dtype=np.int64)

    def to_json(self) -> str:
        """As JSON text; `from_json` reads it back."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Raises DataError where the text is no profile, or one of another schema."""
        try:
            found = json.loads(text)
            schema = found["schema"]
            if schema == SCHEMA:
                return cls(int(found["n"]), tuple(_column(item) for item in found["columns"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"profile: not readable as JSON of schema {SCHEMA}: {error!r}"
            ) from error
        raise DataError(f"profile: schema {schema}; this release reads schema {SCHEMA}")


def reference_profile(frame: pd.DataFrame, columns: Sequence[Column]) -> Profile:
    """The profile that others are compared with; its bins come from the frame itself.

    Numeric columns get bins of about equal mass: 20, or fewer where that would leave fewer than 50
    rows in each (but five at least); with 20 distinct values or fewer, one bin each. Categorical
    columns get their 50 commonest levels; with more levels than that, the 50 are chosen on every
    other row, where each was seen twice, and counted on the rest. Raises DataError for a column
    that is not there.
    """
    absent = [column.name for column in columns if column.name not in frame.columns]
    if absent:
        raise DataError(
            f"profile: no column {', '.join(absent)} among {len(frame.columns)} columns"
        )
    profiles = []
    for column in columns:
        if column.kind == "numeric":
            values = numbers(frame[column.name])
            profiles.append(_count_numbers(column.name, _edges(values), values))
        else:
            series = frame[column.name]
            seen = _levels(series)
            if len(seen) > MAX_LEVELS:
                # The luckiest of many rare levels look commoner than they are, and a level seen
                # once may be the name of somebody.
                chosen = _levels(series.iloc[::2])
                seen = {level: count for level, count in chosen.items() if count > 1}
                series = series.iloc[1::2]
            profiles.append(_count_levels(column.name, tuple(seen)[:MAX_LEVELS], series))
    return Profile(len(frame), tuple(profiles))


def profile_like(frame: pd.DataFrame, reference: Profile) -> Profile:
    """The frame counted in the reference's bins. A column that is not there counts as missing."""
    profiles = []
    for column in reference.columns:
        present = column.name in frame.columns
        series = frame[column.name] if present else pd.Series(np.full(len(frame), np.nan))
        if column.kind == "numeric":
            profiles.append(_count_numbers(column.name, column.edges, numbers(series)))
        else:
            profiles.append(_count_levels(column.name, column.levels, series))
    return Profile(len(frame), tuple(profiles))


def add(*profiles: Profile) -> Profile:
    """The profile of all windows together, one or more, in whatever order they come.

    Raises ValueError where their bins differ.
    """
    first = profiles[0]
    if len(profiles) == 1:
        return first
    for other in profiles[1:]:
        require_same_bins(first, other)
    counts = np.array([each.cells for each in profiles]).sum(axis=0).tolist()
    columns, end = [], 0
    for place, column in enumerate(first.columns):
        start, end = end, end + len(column.counts)
        total = _sum([each.columns[place].total for each in profiles])
        columns.append(column.with_counts(counts[start:end], total))
    return Profile(sum(each.n for each in profiles), tuple(columns))


def require_same_bins(a: Profile, b: Profile) -> None:
    """Raises ValueError naming the first column whose bins differ."""
    names, others = ([column.name for column in profile.columns] for profile in (a, b))
    if names != others:
        differ = sorted(set(names) ^ set(others)) or names
        raise ValueError(f"profiles of different columns: {', '.join(differ)}")
    for one, other in zip(a.columns, b.columns, strict=True):
        if one.bins != other.bins:
            raise ValueError(
                f"column {one.name}: the profiles have different bins; "
                "make both with profile_like and the same reference"
            )


def numbers(series: pd.Series[Any]) -> Floats:
    """Numbers up to LARGEST, NaN for all else."""
    missing = series.isna().to_numpy(dtype=bool)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if series.dtype == object or isinstance(series.dtype, pd.StringDtype):
        series = series.astype(object).map(_as_number)
    read = pd.to_numeric(series, errors="coerce")
    values = np.array(read.to_numpy(dtype=np.float64, na_value=np.nan))
    values[missing | ~(np.abs(values) <= LARGEST)] = np.nan
    return values


def _as_number(value: object) -> object:
    if not isinstance(value, str):
        return value
    return float(value) if _NUMBER.fullmatch(value) else None


def _edges(values: Floats) -> tuple[float, ...]:
    ordered = np.sort(values[~np.isnan(values)])
    n = len(ordered)
    if not n:
        return (0.0, 0.0)
    firsts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if len(firsts) > MAX_BINS:
        bins = min(MAX_BINS, max(5, n // ROWS_PER_BIN))
        lower = np.unique(ordered[np.arange(bins) * n // bins])
    else:
        lower = ordered[firsts]
    return (*(float(edge) for edge in lower), float(ordered[-1]))


def _count_numbers(name: str, edges: tuple[float, ...], values: Floats) -> ColumnProfile:
    present = values[~np.isnan(values)]
    bins: Codes = np.searchsorted(np.array(edges[:-1]), present, side="right").astype(np.int64)
    bins[present > edges[-1]] = len(edges)
    counts = np.bincount(bins, minlength=len(edges) + 1).tolist()
    total = float(present.sum())
    return ColumnProfile(name, "numeric", edges, (), (*counts, len(values) - len(present)), total)


def _levels(series: pd.Series[Any]) -> dict[str, int]:
    """How often each level was seen, the commonest first."""
    seen: dict[str, int] = {}
    for value, count in series.astype(object).value_counts(sort=False).items():
        name = level(value)
        seen[name] = seen.get(name, 0) + int(count)
    return dict(sorted(seen.items(), key=lambda item: (-item[1], item[0])))


def level(value: object) -> str:
    """A value as a level is called."""
    # A missing value turns integers into floats, a file turns booleans into 0 and 1: 1, 1.0 and
    # True are one level, as they are one key to pandas.
    whole = isinstance(value, bool | np.bool_) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def _count_levels(name: str, levels: tuple[str, ...], series: pd.Series[Any]) -> ColumnProfile:
    seen = _levels(series)
    counts = [seen.get(level, 0) for level in levels]
    present = sum(seen.values())
    return ColumnProfile(
        name,
        "categorical",
        (),
        levels,
        (*counts, present - sum(counts), len(series) - present),
        0.0,
    )


def _sum(totals: Sequence[float]) -> float:
    try:
        return fsum(totals)
    except OverflowError:
        return float(np.nan_to_num(sum(totals)))


def _column(found: dict[str, Any]) -> ColumnProfile:
    return ColumnProfile(
        found["name"],
        found["kind"],
        tuple(found["edges"]),
        tuple(found["levels"]),
        tuple(found["counts"]),
        found["total"],
    )
