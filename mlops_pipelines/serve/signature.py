"""A request checked against the signature.

A message names the row (counted from 0) and the column, what was expected and of which type the
found value is, never the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mlops_pipelines.serve.bundle import Column

ID_LENGTH = 128
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
AN_ID = f"expected a string of 1 to {ID_LENGTH} characters, none of them a control character"
LISTED_MISTAKES = 5
LISTED_NAMES = 40

EXPECTED = {
    "double": "a finite number",
    "long": "a 64-bit integer",
    "string": "a string",
    "boolean": "true or false",
}
PLAIN = {"double": float, "long": int, "string": str, "boolean": bool}
# Models cast doubles to single precision, and beyond its range is infinity.
LARGEST_DOUBLE = 3.4028234663852886e38
FOUND = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


class BadRequest(Exception):
    """A request that is refused with this HTTP status; `str()` is what its caller is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How much is taken at once: bytes and rows of one request, requests at one time.

    `buffered_bytes` bounds the bodies of all of them together, `request_seconds` the time from a
    request's first byte to its last, `connections` those that are open at one time.
    """

    body_bytes: int = 16 * 1024 * 1024
    rows: int = 10_000
    in_flight: int = 512
    buffered_bytes: int = 64 * 1024 * 1024
    request_seconds: float = 30.0
    connections: int = 2048


class Mistakes:
    """Every mistake of one request is counted; the first few are told."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._count = 0

    def add(self, message: str) -> None:
        """Count a mistake; the first few are told."""
        self._count += 1
        if len(self._told) < LISTED_MISTAKES:
            self._told.append(message)

    def refuse_if_any(self) -> None:
        """Raise BadRequest with the mistakes, where there are any."""
        if self._count:
            more = self._count - len(self._told)
            raise BadRequest(400, "; ".join(self._told) + (f"; and {more} more" if more else ""))


def media_type(content_type: str) -> str:
    """The media type of a Content-Type header, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body; raises BadRequest."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise BadRequest(400, f"the body is not JSON: {exc.msg} at {where}") from exc
    if not isinstance(document, dict):
        raise BadRequest(400, "expected a JSON object")
    return document


def refuse_too_many(found: int, most: int, what: str) -> None:
    """Raise BadRequest (413) where more was sent than is allowed."""
    if found > most:
        raise BadRequest(413, f"{found} {what}; at most {most} in one request")


def is_id(value: Any) -> bool:
    """Whether a value can be the id of a prediction."""
    return isinstance(value, str) and 0 < len(value) <= ID_LENGTH and not CONTROL.search(value)


def checked_ids(ids: Any, n: int) -> list[str]:
    """The caller's own ids of n predictions; raises BadRequest."""
    if not isinstance(ids, list) or len(ids) != n:
        raise BadRequest(400, f"prediction_ids: expected an array of {n} strings, one per row")
    for row, prediction_id in enumerate(ids):
        if not is_id(prediction_id):
            raise BadRequest(400, f"prediction_ids: row {row}: {AN_ID}")
    if len(set(ids)) != n:
        raise BadRequest(400, "prediction_ids: expected each id once")
    return ids


def compare_names(
    names: list[str], expected: list[str], mistakes: Mistakes, where: str = ""
) -> None:
    """Note which columns are missing, and which are not the model's."""
    if names == expected:
        return
    found = set(names)
    for name in expected:
        if name not in found:
            mistakes.add(f"{where}column {quoted(name)} is missing")
    allowed = set(expected)
    unknown = [name for name in names if name not in allowed]
    if unknown:
        mistakes.add(f"{where}unknown column {names_of(unknown)}; allowed: {names_of(expected)}")
    if len(found) != len(names):
        mistakes.add(f"{where}a column is named twice")


class RowChecker:
    """Checks whole rows against the signature, and looks closer only where one does not fit."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._types = [PLAIN[column.type] for column in columns]
        self._doubles = [i for i, column in enumerate(columns) if column.type == "double"]
        self._longs = [i for i, column in enumerate(columns) if column.type == "long"]
        self._only_doubles = len(self._doubles) == len(columns)
        self._levels = [
            (index, frozenset(column.levels))
            for index, column in enumerate(columns)
            if column.levels is not None
        ]

    def check(self, rows: list[list[Any]]) -> list[list[Any]]:
        """The rows (all of the signature's width) with each value as its column's type.

        Raises BadRequest, naming row and column of the first mistakes.
        """
        if all(map(self._fits, rows)):
            return rows
        mistakes = Mistakes()
        columns = [
            checked_values(column, values, mistakes)
            for column, values in zip(self._columns, zip(*rows, strict=True), strict=True)
        ]
        mistakes.refuse_if_any()
        return [list(row) for row in zip(*columns, strict=True)]

    def _fits(self, row: list[Any]) -> bool:
        """Whether each value is plainly right; False where it takes a closer look to know."""
        if list(map(type, row)) != self._types:
            return False
        if self._only_doubles:
            return min(row) >= -LARGEST_DOUBLE and max(row) <= LARGEST_DOUBLE
        return (
            all(abs(row[index]) <= LARGEST_DOUBLE for index in self._doubles)
            and all(-(1 << 63) <= row[index] < 1 << 63 for index in self._longs)
            and all(row[index] in levels for index, levels in self._levels)
        )


def checked_values(column: Column, values: Sequence[Any], mistakes: Mistakes) -> list[Any]:
    """The values as their column's type; what does not fit is a mistake."""
    kind = column.type
    checked: list[Any] = []
    for row, value in enumerate(values):
        fits = False
        if value is None:
            fits = column.nullable
        elif kind == "string":
            fits = type(value) is str
        elif kind == "boolean":
            fits = type(value) is bool
        elif kind == "double":
            if type(value) is int:
                value = float(value) if abs(value) < 1 << 64 else math.inf
            fits = type(value) is float and abs(value) <= LARGEST_DOUBLE
        elif kind == "long":
            # JSON does not tell 3.0 from 3; beyond 2**53 a float is no exact integer.
            if type(value) is float and value.is_integer() and abs(value) <= 1 << 53:
                value = int(value)
            fits = type(value) is int and -(1 << 63) <= value < 1 << 63
        if fits and column.levels is not None and value is not None:
            fits = value in column.levels
            if not fits:
                where = f"row {row}, column {quoted(column.name)}"
                known = names_of([str(level) for level in column.levels])
                mistakes.add(f"{where}: expected one of {known}, found another")
                continue
        if fits:
            checked.append(value)
        else:
            nulls = " or null" if column.nullable else ""
            where = f"row {row}, column {quoted(column.name)}"
            mistakes.add(f"{where}: expected {EXPECTED[kind]}{nulls}, found {_found(kind, value)}")
    return checked


def _found(kind: str, value: Any) -> str:
    if value is None:
        return "null"
    if type(value) in FOUND:
        return FOUND[type(value)]
    if kind == "long" and value % 1:
        return "a number with a fraction"
    return "a number out of range" if kind in ("double", "long") else "a number"


def quoted(name: str) -> str:
    """A column's name as it is shown: in JSON's quotes, cut to 80 characters."""
    return orjson.dumps(name[:80]).decode()


def names_of(names: Sequence[str]) -> str:
    """A list of names for a message, cut to the first few."""
    listed = ", ".join(quoted(name) for name in names[:LISTED_NAMES])
    more = len(names) - LISTED_NAMES
    return listed + (f" and {more} more" if more > 0 else "")
