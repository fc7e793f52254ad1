"""The rows of one request, checked against the signature."""

from __future__ import annotations

from typing import Any

from mlops_pipelines.serve.table import Table


class Rows:
    """n checked rows: each has the features in the signature's order, None for null.

    Many rows may have come as a `table`; None where they did not. `prediction_ids` are the
    caller's own, one per row, or None where it sent none.
    """

    __slots__ = ("_values", "n", "prediction_ids", "table")

    def __init__(
        self, values: list[list[Any]] | Table, prediction_ids: list[str] | None = None
    ) -> None:
        self.prediction_ids = prediction_ids
        if isinstance(values, Table):
            self.table: Table | None = values
            self.n = values.n
            self._values: list[list[Any]] | None = None
        else:
            self.table = None
            self.n = len(values)
            self._values = values

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Rows)
            and self.values == other.values
            and self.prediction_ids == other.prediction_ids
        )

    def __repr__(self) -> str:
        return f"Rows({self.n})"

    __hash__ = None  # type: ignore[assignment]

    @property
    def values(self) -> list[list[Any]]:
        """The rows as lists, made of the table when they are first asked for."""
        if self._values is None:
            self._values = [] if self.table is None else self.table.rows()
        return self._values
