"""A request checked against the signature.

A message names the row (counted from 0) and the column, what was expected and of which type the
found value is, never the value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mlops_pipelines.serve.bundle import Column

ID_LENGTH = 128
LISTED_MISTAKES = 5
LISTED_NAMES = 40

EXPECTED = {
    "double": "a finite number",
    "long": "a 64-bit integer",
    "string": "a string",
    "boolean": "true or false",
}
FOUND = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


class BadRequest(Exception):
    """A request that is refused with this HTTP status; `str()` is what its caller is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How much is taken at once: bytes and rows of one request, requests at one time."""

    body_bytes: int = 16 * 1024 * 1024
    rows: int = 10_000
    in_flight: int = 512


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
    return isinstance(value, str) and 0 < len(value) <= ID_LENGTH


def compare_names(
    names: list[str], columns: Sequence[Column], mistakes: Mistakes, where: str = ""
) -> None:
    """Note which columns are missing, and which are not the model's."""
    expected = [column.name for column in columns]
    if names == expected:
        return
    found = set(names)
    for name in expected:
        if name not in found:
            mistakes.add(f"{where}column {quoted(name)} is missing")
    unknown = [name for name in names if name not in set(expected)]
    if unknown:
        mistakes.add(f"{where}unknown column {names_of(unknown)}; allowed: {names_of(expected)}")
    if len(found) != len(names):
        mistakes.add(f"{where}a column is named twice")


def checked_values(column: Column, values: list[Any], mistakes: Mistakes) -> list[Any]:
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
            fits = type(value) is float and math.isfinite(value)
        elif kind == "long":
            # JSON does not tell 3.0 from 3; beyond 2**53 a float is no exact integer.
            if type(value) is float and value.is_integer() and abs(value) <= 1 << 53:
                value = int(value)
            fits = type(value) is int and -(1 << 63) <= value < 1 << 63
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
