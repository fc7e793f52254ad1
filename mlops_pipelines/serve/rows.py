"""The rows of one request, checked against the signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Rows:
    """n checked rows: each has the features in the signature's order, None for null.

    `prediction_ids` are the caller's own, one per row, or None where it sent none.
    """

    values: list[list[Any]]
    prediction_ids: list[str] | None = None

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.values)
