"""Suites of expectations: learned from a snapshot, or written by hand in YAML.

A suite is a JSON value, `{"schema": 1, "origin": …, "expectations": [{"expectation": name, …}]}`,
whose entries are Great Expectations' own names and arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DeclarationError, Mistake
from mlops_pipelines.located import Place, read_documents
from mlops_pipelines.train.quietly import quietly
from mlops_pipelines.train.snapshot import Snapshot

Suite = dict[str, Any]

MOSTLY_IN_RANGE = 0.99
MOSTLY_KNOWN = 0.95
"""Shares of values that must be in range, or known: a day may bring an outlier or a new level."""
_LEVELS = 50
_ROWS_PER_LEVEL = 10
_WIDER = 3
"""Ranges are widened by so many interquartile ranges; a positive column's lower end to a third."""
_HIDDEN_FIELDS = (
    *("id", "meta", "notes", "batch_id", "windows", "rendered_content", "description"),
    *("result_format", "catch_exceptions"),
)


def learn_suite(rows: pd.DataFrame, snapshot: Snapshot) -> Suite:
    """What `rows` of the snapshot say of every feature and of the target.

    Columns are there; not null where none was (else about as often as then); numbers within the
    range that was seen, widened (see _WIDER), so that a unit wrong by ten is found and an ordinary
    day is not; text of few levels among them; labels among the classes.
    """
    names = [*(column.name for column in snapshot.columns), snapshot.target]
    found: list[dict[str, Any]] = [
        {"expectation": "expect_table_row_count_to_be_between", "min_value": 1},
        {
            "expectation": "expect_table_columns_to_match_set",
            "column_set": names,
            "exact_match": False,
        },
    ]
    for name in names:
        values = rows[name]
        found += _nulls(name, values)
        if name == snapshot.target and snapshot.classes is not None:
            labels = {"column": name, "value_set": list(snapshot.classes)}
            found.append({"expectation": "expect_column_values_to_be_in_set", **labels})
        elif isinstance(values.dtype, pd.StringDtype):
            found += _levels(name, values)
        elif pd.api.types.is_numeric_dtype(values) and values.dtype != bool:
            found += _range(name, values)
    origin = f"learned from {len(rows)} rows of snapshot {snapshot.digest[:12]}"
    return {"schema": 1, "origin": origin, "expectations": found}


def read_suite(path: Path) -> Suite:
    """The suite that people wrote in `path`: a YAML list of `{expectation: name, …}`.

    Raises DeclarationError with every mistake in it.
    """
    shown = _shown(path)
    documents = read_documents(path, shown)
    if not documents or not isinstance(documents[0].value, list) or not documents[0].value:
        raise DeclarationError([Mistake(shown, 1, 1, "", "must be a list of expectations")])
    document = documents[0]
    mistakes = [
        document.mistake(place, message)
        for index, entry in enumerate(document.value)
        for place, message in _mistakes(entry, index)
    ]
    if mistakes:
        raise DeclarationError(mistakes)
    return {"schema": 1, "origin": shown, "expectations": document.value}


def build_expectation(entry: Mapping[str, Any]) -> Any:
    """The Great Expectations object that one entry of a suite describes."""
    arguments = {name: value for name, value in entry.items() if name != "expectation"}
    return _known()[entry["expectation"]](**arguments)


@cache
def _known() -> dict[str, Any]:
    with quietly():
        import great_expectations.expectations as all_expectations
        from great_expectations.util import camel_to_snake

    return {
        camel_to_snake(name): getattr(all_expectations, name)
        for name in dir(all_expectations)
        if name.startswith("Expect") and name != "Expectation"
    }


def _nulls(name: str, values: pd.Series) -> Iterator[dict[str, Any]]:
    share = float(values.isna().mean())
    allowed = 0.01 if share == 0 else 2 * share + 0.05
    if allowed < 0.9:
        yield {
            "expectation": "expect_column_values_to_not_be_null",
            "column": name,
            "mostly": round(1 - allowed, 4),
        }


def _range(name: str, values: pd.Series) -> Iterator[dict[str, Any]]:
    known = values.dropna().to_numpy(dtype=float)
    if not len(known):
        return
    low, high = float(known.min()), float(known.max())
    quarter, three_quarters = np.quantile(known, [0.25, 0.75])
    spread = max(float(three_quarters - quarter), float(known.std()))
    margin = _WIDER * spread if spread > 0 else max(abs(high), 1.0)
    least, most = low - margin, high + margin
    if low > 0:
        least = max(least, low / 3)
    if high < 0:
        most = min(most, high / 3)
    yield {
        "expectation": "expect_column_values_to_be_between",
        "column": name,
        "min_value": float(f"{least:.6g}"),
        "max_value": float(f"{most:.6g}"),
        "mostly": MOSTLY_IN_RANGE,
    }


def _levels(name: str, values: pd.Series) -> Iterator[dict[str, Any]]:
    levels = sorted(values.dropna().unique().tolist())
    if len(levels) <= _LEVELS and len(values) >= _ROWS_PER_LEVEL * len(levels):
        yield {
            "expectation": "expect_column_values_to_be_in_set",
            "column": name,
            "value_set": levels,
            "mostly": MOSTLY_KNOWN,
        }


def _mistakes(entry: Any, index: int) -> Iterator[tuple[Place, str]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("expectation"), str):
        yield (index,), "must be a mapping with `expectation` and its arguments"
        return
    name = entry["expectation"]
    if name not in _known():
        near = difflib.get_close_matches(name, _known(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        yield (index, "expectation"), f"is no expectation of Great Expectations, {name!r}{hint}"
        return
    fields = _known()[name].__fields__
    allowed = [field for field in fields if field not in _HIDDEN_FIELDS]
    unknown = [field for field in entry if field != "expectation" and field not in allowed]
    for field in unknown:
        near = difflib.get_close_matches(str(field), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        yield (
            (index, field),
            f"is no argument of {name}; {hint}allowed: {', '.join(allowed)}",
        )
    missing = [field for field in allowed if fields[field].required and field not in entry]
    for field in missing:
        yield (index, field), f"is required by {name}, and missing"
    if not unknown and not missing:
        yield from _refused(entry, index)


def _refused(entry: Mapping[str, Any], index: int) -> Iterator[tuple[Place, str]]:
    try:
        build_expectation(entry)
    except ValueError as error:
        # pydantic's ValidationError is a ValueError whose details say which argument it was.
        details = error.errors() if hasattr(error, "errors") else []
        for detail in details:
            place = [step for step in detail["loc"] if step in entry][:1]
            yield (index, *place), str(detail["msg"])
        if not details:
            yield (index,), str(error)


def _shown(path: Path) -> str:
    parts = path.parts
    if "assets" in parts:
        place = len(parts) - 1 - parts[::-1].index("assets")
        return "/".join(parts[place:])
    return path.name
