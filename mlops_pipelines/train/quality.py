"""Checks rows against a suite of expectations, with Great Expectations 1.x."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.train.late_grammar import build_late
from mlops_pipelines.train.quietly import quietly
from mlops_pipelines.train.suite import Suite, build_expectation, learn_suite, read_suite

__all__ = ["Failed", "Quality", "Suite", "check_rows", "learn_suite", "read_suite"]

_COLUMN_SET = "expect_table_columns_to_match_set"


@dataclass(frozen=True)
class Failed:
    """One expectation that did not hold; `column` is empty where it is about the table."""

    column: str
    expectation: str
    sentence: str


@dataclass(frozen=True)
class Quality:
    """How `rows` rows met a suite of so many `expectations`; `markdown` is for people."""

    passed: bool
    expectations: int
    failed: tuple[Failed, ...]
    rows: int
    markdown: str


def check_rows(frame: pd.DataFrame, suite: Suite, without: Collection[str] = ()) -> Quality:
    """Validate `frame` against `suite`.

    Columns in `without` (the target, where labels are still to come) are not expected. No value of
    a row is in the result, only shares and counts. Raises DataError for a suite of another schema.
    """
    if suite.get("schema") != 1:
        raise DataError(f"the suite has schema {suite.get('schema')!r}; 1 was expected")
    entries = [_without(entry, without) for entry in suite["expectations"]]
    asked = [entry for entry in entries if entry.get("column") not in without]
    absent = [entry for entry in asked if "column" in entry and entry["column"] not in frame]
    named = {name for entry in asked for name in entry.get("column_set", ())}
    failed = [
        Failed(entry["column"], entry["expectation"], f"column {entry['column']!r} is missing")
        for entry in absent
        # Where the suite expects a set of columns, one failure names all that are missing.
        if entry["column"] not in named
    ]
    checked = [entry for entry in asked if entry not in absent]
    for entry, result in zip(checked, _validate(frame, checked), strict=True):
        if not result.success:
            column = str(entry.get("column", ""))
            failed.append(Failed(column, entry["expectation"], _sentence(entry, result, frame)))
    markdown = _markdown(failed, len(asked), len(frame), str(suite.get("origin", "")))
    return Quality(not failed, len(asked), tuple(failed), len(frame), markdown)


def _validate(frame: pd.DataFrame, entries: list[dict[str, Any]]) -> list[Any]:
    """One result per entry, in their order."""
    if not entries:
        return []
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    build_late()
    with quietly():
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
        definition = asset.add_batch_definition_whole_dataframe("rows")
        batch = definition.get_batch(batch_parameters={"dataframe": frame})
        suite = gx.ExpectationSuite(name="suite")
        for place, entry in enumerate(entries):
            expectation = build_expectation(entry)
            # Results come in no promised order.
            expectation.meta = {"place": place}
            suite.expectations.append(expectation)
        brief = {"result_format": "BASIC", "partial_unexpected_count": 0}
        found = batch.validate(suite, result_format=brief)
    return sorted(found.results, key=lambda one: int(one.expectation_config.meta["place"]))


def _without(entry: dict[str, Any], without: Collection[str]) -> dict[str, Any]:
    if entry["expectation"] != _COLUMN_SET or not without:
        return entry
    return {**entry, "column_set": [name for name in entry["column_set"] if name not in without]}


def _sentence(entry: Mapping[str, Any], result: Any, frame: pd.DataFrame) -> str:
    name, column = entry["expectation"], entry.get("column")
    where = f"{column}: " if column else ""
    if name == _COLUMN_SET:
        missing = sorted(set(entry["column_set"]) - set(map(str, frame.columns)))
        extra = sorted(set(map(str, frame.columns)) - set(entry["column_set"]))
        if missing:
            return f"missing columns: {', '.join(missing)}"
        return f"columns that were not expected: {', '.join(extra)}"
    if _raised(result):
        kind = f" (it holds {frame[column].dtype})" if column in frame else ""
        return f"{where}{name} could not be checked{kind}"
    details = result.result or {}
    share = details.get("unexpected_percent")
    if share is None:
        observed = details.get("observed_value")
        seen = f", found {observed:g}" if isinstance(observed, int | float) else ""
        return f"{where}{name} does not hold{_bounds(entry)}{seen}"
    allowed = f"allowed {1 - float(entry.get('mostly', 1)):.0%}"
    rows = f"{share:.3g}% of {details.get('element_count', len(frame))} values"
    if name == "expect_column_values_to_not_be_null":
        return f"{where}{rows} are null; {allowed}"
    if name == "expect_column_values_to_be_between":
        return f"{where}{rows} are outside {_range(entry)}; {allowed}"
    if name == "expect_column_values_to_be_in_set":
        return f"{where}{rows} are none of the {len(entry['value_set'])} known ones; {allowed}"
    return f"{where}{rows} do not meet {name}; {allowed}"


def _raised(result: Any) -> bool:
    said = result.exception_info or {}
    if "raised_exception" in said:
        return bool(said["raised_exception"])
    return any(bool(one.get("raised_exception")) for one in said.values())


def _range(entry: Mapping[str, Any]) -> str:
    low, high = entry.get("min_value"), entry.get("max_value")
    return f"{'-∞' if low is None else low} to {'∞' if high is None else high}"


def _bounds(entry: Mapping[str, Any]) -> str:
    return f" ({_range(entry)})" if "min_value" in entry or "max_value" in entry else ""


def _markdown(failed: list[Failed], expectations: int, rows: int, origin: str) -> str:
    held = expectations - len(failed)
    lines = [f"{max(held, 0)} of {expectations} expectations hold on {rows} rows ({origin})."]
    if failed:
        lines += ["", "| column | expectation | what was found |", "|---|---|---|"]
        lines += [
            "| {} | {} | {} |".format(
                *(text.replace("|", "\\|") for text in (one.column, one.expectation, one.sentence))
            )
            for one in failed
        ]
    return "\n".join(lines) + "\n"
