"""What nonsense is made from: tables that would be answered, and chance from one seed."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence
from typing import Any

from benchmarks.serving.wire import request


class Source:
    """A model of numbers: its name, its columns, rows that it answers."""

    def __init__(self, model: str, columns: list[str], rows: list[list[float]], seed: int) -> None:
        self.model = model
        self.columns = columns
        self.rows = rows
        self.random = random.Random(seed)

    def pick(self, choices: Sequence[Any]) -> Any:
        """One of them."""
        return self.random.choice(choices)

    def post(
        self,
        body: str | bytes,
        path: str = "/invocations",
        media: str = "application/json",
        more: str = "",
    ) -> bytes:
        """A request with this body."""
        data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        return request(path, data, media=media, more=more)

    def good(self) -> dict[str, object]:
        """A table that would be answered, in any of the forms."""
        values = self.random.choices(self.rows, k=self.pick((1, 1, 3)))
        records = [dict(zip(self.columns, row, strict=True)) for row in values]
        columns = {c: [row[i] for row in values] for i, c in enumerate(self.columns)}
        return self.pick(
            [
                {"dataframe_split": {"columns": self.columns, "data": values}},
                {"dataframe_records": records},
                {"inputs": values},
                {"inputs": columns},
                {"instances": values},
                {"instances": records},
            ]
        )

    def with_cell(self, cell: str) -> str:
        """A good table in which one number is this text instead."""
        text = json.dumps(self.good())
        places = [i for i, letter in enumerate(text) if letter in "[: " and text[i + 1].isdigit()]
        begin = self.pick(places) + 1
        end = begin
        while text[end] in "0123456789.e-+":
            end += 1
        return text[:begin] + cell + text[end:]

    def word(self) -> str:
        """A name that means nothing."""
        return "".join(self.random.choices(string.printable, k=self.random.randrange(1, 30)))
