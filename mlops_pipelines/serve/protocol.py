"""The tables that a caller may send to `/invocations`.

The JSON forms are those of MLflow's scoring protocol
(https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops_pipelines.serve.bundle import Column
from mlops_pipelines.serve.signature import (
    ID_LENGTH,
    BadRequest,
    Limits,
    Mistakes,
    checked_values,
    compare_names,
    is_id,
    json_object,
    media_type,
    names_of,
    refuse_too_many,
)

__all__ = ["BadRequest", "Limits", "Rows", "parse_rows"]

TABLES = ("dataframe_split", "dataframe_records", "inputs", "instances")


@dataclass(frozen=True)
class Rows:
    """A checked table of n rows: every feature by name, in the signature's order, None for null."""

    columns: dict[str, list[Any]]
    n: int
    prediction_ids: list[str] | None


def parse_rows(
    body: bytes, content_type: str, columns: Sequence[Column], limits: Limits | None = None
) -> Rows:
    """The table in a request's body, checked against the signature. Raises BadRequest."""
    most = (limits or Limits()).rows
    ids = None
    mistakes = Mistakes()
    media = media_type(content_type)
    if media == "text/csv":
        raw = _from_csv(body, columns, most, mistakes)
    elif media == "application/json":
        document = json_object(body)
        forms = [form for form in TABLES if form in document]
        unknown = [key for key in document if key not in TABLES and key != "prediction_ids"]
        if len(forms) != 1 or unknown:
            raise BadRequest(
                400,
                f"expected one of {', '.join(TABLES)}, and prediction_ids if wanted; found "
                + (names_of(list(document)) if document else "nothing"),
            )
        ids = document.get("prediction_ids")
        raw = _from_json(forms[0], document[forms[0]], columns, most, mistakes)
    else:
        raise BadRequest(415, "expected the content type application/json or text/csv")
    mistakes.refuse_if_any()
    checked = {
        column.name: checked_values(column, raw[column.name], mistakes) for column in columns
    }
    mistakes.refuse_if_any()
    n = len(next(iter(checked.values())))
    return Rows(checked, n, None if ids is None else _prediction_ids(ids, n))


def _from_json(
    form: str, table: Any, columns: Sequence[Column], most: int, mistakes: Mistakes
) -> dict[str, list[Any]]:
    if form == "dataframe_split":
        if not isinstance(table, dict) or not {"columns", "data"} <= table.keys():
            raise BadRequest(400, 'dataframe_split: expected {"columns": […], "data": [[…], …]}')
        names, rows = table["columns"], table["data"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRequest(400, "dataframe_split: columns: expected an array of strings")
        return _from_lists(names, rows, columns, most, mistakes)
    if form == "inputs" and isinstance(table, dict):
        return _from_columns(table, columns, most, mistakes)
    if not isinstance(table, list) or not table:
        raise BadRequest(400, f"{form}: expected an array of at least one row")
    if form != "dataframe_records" and isinstance(table[0], list):
        return _from_lists([column.name for column in columns], table, columns, most, mistakes)
    refuse_too_many(len(table), most, "rows")
    expected = {column.name for column in columns}
    for index, row in enumerate(table):
        if not isinstance(row, dict):
            raise BadRequest(400, f"{form}: row {index}: expected an object of columns")
        if row.keys() != expected:
            compare_names(list(row), columns, mistakes, f"row {index}, ")
    mistakes.refuse_if_any()
    return {column.name: [row[column.name] for row in table] for column in columns}


def _from_columns(
    table: dict[str, Any], columns: Sequence[Column], most: int, mistakes: Mistakes
) -> dict[str, list[Any]]:
    compare_names(list(table), columns, mistakes)
    mistakes.refuse_if_any()
    if not all(isinstance(values, list) for values in table.values()):
        raise BadRequest(400, "inputs: expected an array of values for each column")
    lengths = {len(values) for values in table.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise BadRequest(400, "inputs: expected arrays of one length, and at least one row")
    refuse_too_many(lengths.pop(), most, "rows")
    return table


def _from_lists(
    names: list[str], rows: Any, columns: Sequence[Column], most: int, mistakes: Mistakes
) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        raise BadRequest(400, "expected an array of at least one row")
    refuse_too_many(len(rows), most, "rows")
    compare_names(names, columns, mistakes)
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise BadRequest(400, f"row {index}: expected an array of values")
        if len(row) != len(names):
            mistakes.add(f"row {index}: {len(row)} values, expected {len(names)}")
    mistakes.refuse_if_any()
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _from_csv(
    body: bytes, columns: Sequence[Column], most: int, mistakes: Mistakes
) -> dict[str, list[Any]]:
    """CSV with a header line; an empty field is null."""
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"), "")) if line]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise BadRequest(400, "the body is not CSV in UTF-8") from exc
    if not lines:
        raise BadRequest(400, "expected CSV with a header line")
    raw = _from_lists(lines[0], lines[1:], columns, most, mistakes)
    return {c.name: [_typed(c.type, text) for text in raw[c.name]] for c in columns}


def _typed(kind: str, text: str) -> Any:
    """A CSV field as its column's type; the text itself where it is none, to be refused later."""
    if not text:
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind == "string" or "_" in text:
        return text
    try:
        return int(text) if kind == "long" else float(text)
    except ValueError:
        return text


def _prediction_ids(ids: Any, n: int) -> list[str]:
    if not isinstance(ids, list) or len(ids) != n:
        raise BadRequest(400, f"prediction_ids: expected an array of {n} strings, one per row")
    for row, prediction_id in enumerate(ids):
        if not is_id(prediction_id):
            expected = f"expected a string of 1 to {ID_LENGTH} characters"
            raise BadRequest(400, f"prediction_ids: row {row}: {expected}")
    if len(set(ids)) != n:
        raise BadRequest(400, "prediction_ids: expected each id once")
    return ids
