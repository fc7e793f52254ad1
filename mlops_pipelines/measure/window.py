"""The profiles of one model version over a stretch of time, as a whole and by segment.

Windows of one version add: hours to a day, days to a week, replicas to a service, and sites to a
fleet. What is added are counts, so a verdict on the sum is the verdict on all the rows together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np
import orjson
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure import profile
from mlops_pipelines.measure.profile import ColumnProfile, Profile

SCHEMA = 2
"""Of a file of windows; a reference profile alone is schema 1, as bundles hold it."""

OTHER = "(other)"
MISSING = "(missing)"
"""What a segment's rows of all other values, and of none, are called."""

Segments = Mapping[str, Mapping[str, Profile]]
Bins = tuple[ColumnProfile, ...]
"""Columns without counts."""


@dataclass(frozen=True)
class WindowProfile:
    """What is kept of the rows that one version of a model answered from `start` to `end`.

    `start` and `end` (exclusive) are ISO 8601 dates or times in UTC. `segments` holds the profile
    of each value of each segment column that was seen: of the values that the reference knows, at
    most 50, of all others together as `(other)`, and of rows without a value as `(missing)`. All
    are counted in the same bins.
    """

    model: str
    version: int
    start: str
    end: str
    whole: Profile
    segments: Segments = field(default_factory=dict)

    def to_json(self) -> str:
        """As a file of this one window; `from_json` reads it back."""
        return to_json([self])

    @classmethod
    def from_json(cls, text: str) -> WindowProfile:
        """Raises DataError where the text is no file of windows, or not of exactly one."""
        found = from_json(text)
        if len(found) != 1:
            raise DataError(f"profile: expected one window, found {len(found)}")
        return found[0]


def window_like(
    frame: pd.DataFrame,
    reference: Profile,
    model: str,
    version: int,
    start: str,
    end: str,
    segments: Mapping[str, Sequence[str]] | None = None,
) -> WindowProfile:
    """The rows of `frame` counted in the reference's bins, whole and by `segments`.

    `segments` names the values that are told apart of each segment column, as `segment_levels`
    does; a column that is not there is missing in every row.
    """
    parts: dict[str, dict[str, Profile]] = {}
    for name, levels in (segments or {}).items():
        places = _segment_of(frame, name, levels)
        names = (*levels, OTHER, MISSING)
        parts[name] = {
            names[place]: profile.profile_like(frame[places == place], reference)
            for place in np.unique(places)
        }
    return WindowProfile(model, version, start, end, profile.profile_like(frame, reference), parts)


def segment_levels(reference: Profile, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The values that are told apart of each of the segment columns `names`, at most 50 of each.

    They come from the reference, so that windows counted apart have the same ones: the levels of a
    category, or of a number with 20 values or fewer these values. A column that the reference does
    not have, or that has more values than bins, is left out.
    """
    known = {column.name: column for column in reference.columns}
    found = {name: _values(known[name]) for name in names if name in known}
    return {name: levels for name, levels in found.items() if levels}


def add(windows: Iterable[WindowProfile]) -> WindowProfile:
    """The window of all rows of `windows`, from the first start to the last end.

    The order makes no difference: counts add exactly, sums of values to within rounding. Raises
    DataError where there are none, or of different models, versions or bins.
    """
    given = list(windows)
    if not given:
        raise DataError("profile: there are no windows to add")
    first = given[0]
    for other in given[1:]:
        for what, one, two in (
            ("models", first.model, other.model),
            ("versions", first.version, other.version),
        ):
            if one != two:
                raise DataError(f"profiles of different {what} do not add: {one} and {two}")
    parts: dict[str, dict[str, list[Profile]]] = {}
    for window in given:
        for name, values in window.segments.items():
            own = parts.setdefault(name, {})
            for value, part in values.items():
                own.setdefault(value, []).append(part)
    try:
        whole = profile.add(*(window.whole for window in given))
        segments = {
            name: {value: profile.add(*found) for value, found in values.items()}
            for name, values in parts.items()
        }
    except ValueError as error:
        raise DataError(str(error)) from error
    start, end = min(window.start for window in given), max(window.end for window in given)
    return WindowProfile(first.model, first.version, start, end, whole, segments)


def to_json(windows: Sequence[WindowProfile], **more: Any) -> str:
    """Windows of any models and versions as one file, each set of bins written once.

    `more` are further fields at the top of the file, which readers of windows pass over.
    """
    bins: list[list[dict[str, Any]]] = []
    places: dict[tuple[Any, ...], int] = {}
    written = []
    for window in windows:
        key = tuple(column.bins for column in window.whole.columns)
        if key not in places:
            places[key] = len(bins)
            bins.append([_bins(column) for column in window.whole.columns])
        written.append(
            {
                "model": window.model,
                "version": window.version,
                "start": window.start,
                "end": window.end,
                "bins": places[key],
                **_counted(window.whole),
                "segments": {
                    name: {value: _counted(part) for value, part in sorted(values.items())}
                    for name, values in sorted(window.segments.items())
                },
            }
        )
    found = {"schema": SCHEMA, **more, "bins": bins, "windows": written}
    return json.dumps(found, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str | bytes) -> tuple[WindowProfile, ...]:
    """The windows that `to_json` wrote; raises DataError where the text says anything else."""
    return read_file(text)[0]


def read_file(
    text: str | bytes, known: list[tuple[Any, Bins]] | None = None
) -> tuple[tuple[WindowProfile, ...], dict[str, Any]]:
    """As `from_json`, and the further fields at the top of the file.

    Files of one version say the same bins; what `known` has of them is not read again.
    """
    known = [] if known is None else known
    try:
        found = orjson.loads(text)
        schema = found.pop("schema")
        if schema == SCHEMA:
            bins = []
            for columns in found.pop("bins"):
                read = next((each for said, each in known if said == columns), None)
                if read is None:
                    read = tuple(map(_read_bins, columns))
                    known.append((columns, read))
                bins.append(read)
            return tuple(_read_window(each, bins) for each in found.pop("windows")), found
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"profile: not readable as windows of schema {SCHEMA}: {error}") from error
    raise DataError(f"profile: schema {schema}; windows are of schema {SCHEMA}")


def _values(column: ColumnProfile) -> tuple[str, ...]:
    if column.kind == "categorical":
        return tuple(level for level in column.levels if level not in (OTHER, MISSING))
    # One bin for each value there is: the last one begins and ends at the largest.
    if column.edges[-2] == column.edges[-1]:
        return tuple(profile.level(edge) for edge in column.edges[:-1])
    return ()


def _segment_of(frame: pd.DataFrame, name: str, levels: Sequence[str]) -> np.ndarray[Any, Any]:
    """The place (n,) of each row's value among the levels, OTHER and MISSING."""
    if name not in frame.columns:
        return np.full(len(frame), len(levels) + 1)
    values = frame[name].astype(object)
    place = {level: index for index, level in enumerate(levels)}
    meant = {value: place.get(profile.level(value), len(levels)) for value in values.dropna()}
    places = values.map(meant).fillna(len(levels) + 1)
    return places.to_numpy(dtype=np.int64)


def _bins(column: ColumnProfile) -> dict[str, Any]:
    ends = {"edges": column.edges} if column.kind == "numeric" else {"levels": column.levels}
    return {"name": column.name, "kind": column.kind, **ends}


def _counted(whole: Profile) -> dict[str, Any]:
    return {
        "n": whole.n,
        "counts": [column.counts for column in whole.columns],
        "totals": [column.total for column in whole.columns],
    }


def _read_bins(found: dict[str, Any]) -> ColumnProfile:
    """Bins without counts."""
    name, kind = found["name"], found["kind"]
    if kind not in ("numeric", "categorical"):
        raise ValueError(f"column {name}: kind {kind!r}; expected numeric or categorical")
    edges = tuple(map(float, found["edges"])) if kind == "numeric" else ()
    if kind == "numeric" and (len(edges) < 2 or list(edges) != sorted(edges)):
        raise ValueError(f"column {name}: expected two edges or more, in order")
    levels = tuple(map(str, found["levels"])) if kind == "categorical" else ()
    return ColumnProfile(str(name), kind, edges, levels, (), 0.0)


def _read_window(found: dict[str, Any], bins: Sequence[Bins]) -> WindowProfile:
    columns = bins[found["bins"]]
    for time in (found["start"], found["end"]):
        datetime.fromisoformat(time)
    return WindowProfile(
        str(found["model"]),
        int(found["version"]),
        found["start"],
        found["end"],
        _read_profile(found, columns),
        {
            name: {value: _read_profile(part, columns) for value, part in values.items()}
            for name, values in found["segments"].items()
        },
    )


def _read_profile(found: dict[str, Any], bins: Bins) -> Profile:
    n = found["n"]
    columns = []
    for column, counts, total in zip(bins, found["counts"], found["totals"], strict=True):
        if len(counts) != column.size or set(map(type, counts)) != {int} or min(counts) < 0:
            raise ValueError(f"column {column.name}: expected {column.size} whole counts from 0 on")
        if sum(counts) != n:
            raise ValueError(f"column {column.name}: {sum(counts)} rows are counted of {n}")
        if not isfinite(total):
            raise ValueError(f"column {column.name}: expected a finite total")
        columns.append(column.with_counts(counts, float(total)))
    return Profile(n, tuple(columns))
