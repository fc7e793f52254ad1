"""The tables that a caller may send to `/invocations`.

The JSON forms are those of MLflow's scoring protocol
(https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from mlops_pipelines.serve.bundle import Column
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.signature import (
    BadRequest,
    Limits,
    Mistakes,
    RowChecker,
    checked_ids,
    compare_names,
    json_object,
    media_type,
    names_of,
    refuse_too_many,
)
from mlops_pipelines.serve.table import MANY_ROWS, TableReader, may_hold_booleans

TABLES = ("dataframe_split", "dataframe_records", "inputs", "instances")
JSON = "application/json"
CSV = "text/csv"


class TableParser:
    """Reads the tables that are sent to one model; made once, for what it prepares."""

    def __init__(self, columns: Sequence[Column], limits: Limits | None = None) -> None:
        self._columns = tuple(columns)
        self._names = [column.name for column in columns]
        self._most = (limits or Limits()).rows
        self._checker = RowChecker(columns)
        self._tables = TableReader(columns)

    def parse(self, body: bytes, content_type: str) -> Rows:
        """The table in a request's body, checked against the signature. Raises BadRequest."""
        media = content_type if content_type == JSON else media_type(content_type)
        if media == CSV:
            return self._checked(self._from_csv(body))
        if media != JSON:
            raise BadRequest(415, "expected the content type application/json or text/csv")
        document = json_object(body)
        forms = [form for form in TABLES if form in document]
        if len(forms) != 1 or len(document) > 1 + ("prediction_ids" in document):
            raise BadRequest(
                400,
                f"expected one of {', '.join(TABLES)}, and prediction_ids if wanted; found "
                + (names_of(list(document)) if document else "nothing"),
            )
        rows = self._checked(self._from_json(forms[0], document[forms[0]]), may_hold_booleans(body))
        if "prediction_ids" in document:
            rows.prediction_ids = checked_ids(document["prediction_ids"], rows.n)
        return rows

    def _checked(self, rows: list[list[Any]], booleans: bool = True) -> Rows:
        table = self._tables.from_rows(rows, booleans) if len(rows) >= MANY_ROWS else None
        return Rows(self._checker.check(rows) if table is None else table)

    def _from_json(self, form: str, table: Any) -> list[list[Any]]:
        if form == "dataframe_split":
            if not isinstance(table, dict) or not (
                {"columns", "data"} <= table.keys() <= {"columns", "data", "index"}
            ):
                raise BadRequest(
                    400, 'dataframe_split: expected {"columns": […], "data": [[…], …]}'
                )
            names, rows = table["columns"], table["data"]
            if names != self._names and (
                not isinstance(names, list) or not all(isinstance(name, str) for name in names)
            ):
                raise BadRequest(400, "dataframe_split: columns: expected an array of strings")
            return self._from_lists(names, rows)
        if form == "inputs" and isinstance(table, dict):
            return self._from_columns(table)
        if not isinstance(table, list) or not table:
            raise BadRequest(400, f"{form}: expected an array of at least one row")
        if form != "dataframe_records" and isinstance(table[0], list):
            return self._from_lists(self._names, table)
        return self._from_records(form, table)

    def _from_records(self, form: str, table: list[Any]) -> list[list[Any]]:
        refuse_too_many(len(table), self._most, "rows")
        expected = set(self._names)
        mistakes = Mistakes()
        for index, row in enumerate(table):
            if not isinstance(row, dict):
                raise BadRequest(400, f"{form}: row {index}: expected an object of columns")
            if row.keys() != expected:
                compare_names(list(row), self._names, mistakes, f"row {index}, ")
        mistakes.refuse_if_any()
        return [[row[name] for name in self._names] for row in table]

    def _from_columns(self, table: dict[str, Any]) -> list[list[Any]]:
        mistakes = Mistakes()
        compare_names(list(table), self._names, mistakes)
        mistakes.refuse_if_any()
        if not all(isinstance(values, list) for values in table.values()):
            raise BadRequest(400, "inputs: expected an array of values for each column")
        lengths = {len(values) for values in table.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise BadRequest(400, "inputs: expected arrays of one length, and at least one row")
        refuse_too_many(lengths.pop(), self._most, "rows")
        return [list(row) for row in zip(*(table[name] for name in self._names), strict=True)]

    def _from_lists(self, names: list[str], rows: Any) -> list[list[Any]]:
        """Rows whose values are in the order of `names`, put in the signature's order."""
        if not isinstance(rows, list) or not rows:
            raise BadRequest(400, "expected an array of at least one row")
        refuse_too_many(len(rows), self._most, "rows")
        mistakes = Mistakes()
        compare_names(names, self._names, mistakes)
        width = len(names)
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                raise BadRequest(400, f"row {index}: expected an array of values")
            if len(row) != width:
                mistakes.add(f"row {index}: {len(row)} values, expected {width}")
        mistakes.refuse_if_any()
        if names == self._names:
            return rows
        places = [names.index(name) for name in self._names]
        return [[row[place] for place in places] for row in rows]

    def _from_csv(self, body: bytes) -> list[list[Any]]:
        """CSV with a header line; an empty field is null."""
        try:
            lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"), "")) if line]
        except (UnicodeDecodeError, csv.Error) as exc:
            raise BadRequest(400, "the body is not CSV in UTF-8") from exc
        if not lines:
            raise BadRequest(400, "expected CSV with a header line")
        unknown = set(lines[0]).difference(self._names)
        if unknown:
            # Without a header the first row stands in its place, and its values are not repeated.
            allowed = names_of(self._names)
            raise BadRequest(
                400, f"the header line has {len(unknown)} unknown columns; allowed: {allowed}"
            )
        rows = self._from_lists(lines[0], lines[1:])
        kinds = [column.type for column in self._columns]
        return [[_typed(kind, text) for kind, text in zip(kinds, row, strict=True)] for row in rows]


def _typed(kind: str, text: str) -> Any:
    """A CSV field as its column's type; the text itself where it is none, to be refused later."""
    if not text:
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind == "string" or "_" in text or not text.isascii():
        return text
    try:
        return int(text) if kind == "long" else float(text)
    except ValueError:
        return text
