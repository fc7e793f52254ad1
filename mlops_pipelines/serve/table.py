"""The rows of a large request as columns, which arrays check, answer and log at once.

Numbers of a table are doubles, NaN for null. What they cannot hold, or what does not fit the
signature, is no table: it is left to the checks of single values, which say what is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mlops_pipelines.serve.bundle import Column
from mlops_pipelines.serve.signature import LARGEST_DOUBLE, PLAIN

MANY_ROWS = 64
"""From so many rows on, a table costs less than its rows do one by one."""
# Beyond it a double is no exact integer, and cannot tell that it was one.
BEYOND_WHOLE = float(1 << 53)

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(slots=True, eq=False)
class Table:
    """n checked rows: `numbers` (n × k) of the k columns that are not among the `others`.

    These are strings and booleans, None for null, by the column's place in the signature. `whole`
    are the places of whole numbers.
    """

    numbers: Numbers
    others: dict[int, list[Any]]
    whole: tuple[int, ...]

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.numbers)

    def columns(self) -> list[Any]:
        """The columns in the signature's order: arrays of doubles, lists of other values."""
        numbers = iter(self.numbers.T)
        width = self.numbers.shape[1] + len(self.others)
        return [self.others[i] if i in self.others else next(numbers) for i in range(width)]

    def rows(self) -> list[list[Any]]:
        """The rows as they are asked one by one: integers for whole numbers, None for null."""
        nulls: list[bool] = np.asarray(np.isnan(self.numbers).any(axis=0)).tolist()
        if not self.others and not self.whole and not any(nulls):
            return self.numbers.tolist()
        has_null = iter(nulls)
        columns = []
        for place, column in enumerate(self.columns()):
            if place not in self.others:
                make = int if place in self.whole else float
                column = column.tolist()
                if next(has_null):
                    column = [None if value != value else make(value) for value in column]
                elif make is int:
                    column = list(map(int, column))
            columns.append(column)
        return [list(row) for row in zip(*columns, strict=True)]


def may_hold_booleans(body: bytes) -> bool:
    """Whether a JSON document may hold any in its arrays."""
    # Looking for one letter is ten times as fast as for a word, and names mostly come first.
    rows = body.find(b"[[")
    if rows >= 0 and body.find(b"t", rows) < 0 and body.find(b"f", rows) < 0:
        return False
    return b"true" in body or b"false" in body


class TableReader:
    """Makes tables of a model's rows; made once, for what it prepares."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        places = [i for i, column in enumerate(columns) if column.type in ("double", "long")]
        self.only_numbers = len(places) == len(self._columns)
        self._width = len(places)
        self._whole = tuple(i for i in places if columns[i].type == "long")
        self._whole_numbers = [places.index(i) for i in self._whole]
        self._not_null = np.array([not columns[i].nullable for i in places], bool)
        self._plain = all(columns[i].levels is None for i in places)

    def from_rows(self, rows: Sequence[Sequence[Any]], booleans: bool = True) -> Table | None:
        """The table of rows of the signature's width; None where they are none.

        `booleans` says whether any may be among the values: they would be taken for numbers.
        """
        if not self.only_numbers:
            return self.from_columns(list(zip(*rows, strict=True)))
        return self.from_flat(list(chain.from_iterable(rows)), booleans)

    def from_flat(self, values: Sequence[Any], booleans: bool = True) -> Table | None:
        """As `from_rows`, where all columns are numbers and the values follow row by row."""
        if not self.only_numbers or not self._plain:
            return None
        if not booleans:
            try:
                packed = struct.pack(f"{len(values)}d", *values)
            except (struct.error, OverflowError):
                pass  # a null, perhaps
            else:
                return self.from_numbers(np.frombuffer(packed).reshape(-1, self._width))
        if not set(map(type, values)) <= {float, int, type(None)}:
            return None
        return self.from_numbers(np.array(values, np.float64).reshape(-1, self._width))

    def from_numbers(
        self, numbers: Numbers, others: dict[int, list[Any]] | None = None
    ) -> Table | None:
        """The table of numbers (n × k) that are NaN where they are null, and of other columns."""
        if not self._plain or (np.abs(numbers) > LARGEST_DOUBLE).any():
            return None
        if (np.isnan(numbers).any(axis=0) & self._not_null).any():
            return None
        if self._whole:
            whole = numbers[:, self._whole_numbers]
            exact = (np.abs(whole) < BEYOND_WHOLE) & (whole == np.rint(whole))
            if not (exact | np.isnan(whole)).all():
                return None
        return Table(numbers, others or {}, self._whole)

    def from_columns(self, columns: Sequence[Sequence[Any]]) -> Table | None:
        """The table of columns in the signature's order; None where they are none."""
        numbers = []
        others: dict[int, list[Any]] = {}
        for place, (column, values) in enumerate(zip(self._columns, columns, strict=True)):
            found = set(map(type, values))
            if column.nullable:
                found.discard(type(None))
            if column.type in ("double", "long"):
                if not found <= {float, int}:
                    return None
                try:
                    numbers.append(np.array(values, np.float64))
                except OverflowError:
                    return None
                continue
            if not found <= {PLAIN[column.type]} or (
                column.levels is not None and not set(values) <= {*column.levels, None}
            ):
                return None
            others[place] = list(values)
        shape = (len(columns[0]), len(numbers))
        return self.from_numbers(np.array(numbers).T.reshape(shape), others)
