"""The line of the log that holds the answered rows of a table: one JSON object, ids first.

Its numbers are in base64 (little-endian doubles, row by row, NaN for null), which is written in a
tenth of the time that they take as digits, and read back to the last bit.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import numpy as np
import orjson

from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.table import Table

BEGINS = b'{"ids":['


def table_line(
    request_id: str, times: tuple[str, str], latency_ms: float, table: Table, answered: Answered
) -> bytes:
    """The line of a request's rows; `times` are what they are about, and when they were logged."""
    record = {
        "ids": answered.ids,
        "request_id": request_id,
        "predicted_at": times[0],
        "logged_at": times[1],
        "latency_ms": latency_ms,
        "predictions": answered.predictions,
        "scores": answered.scores,
        "probabilities": answered.probabilities,
        "others": [[place, values] for place, values in table.others.items()],
        "whole": table.whole,
    }
    numbers = b64encode(np.ascontiguousarray(table.numbers, "<f8").data)
    # Digits of base64 need no escapes, so orjson need not look for any.
    return b"".join((orjson.dumps(record)[:-1], b',"numbers":"', numbers, b'"}\n'))


def rows_of(record: Any, width: int) -> list[tuple[Any, ...]] | None:
    """The rows of such a line, in the order of `segments.Prediction`; None where it is none."""
    try:
        n = len(record["ids"])
        others = dict(record["others"])
        numbers = np.frombuffer(b64decode(record["numbers"], validate=True), "<f8")
        table = Table(numbers.reshape(n, width - len(others)), others, tuple(record["whole"]))
        times = record["predicted_at"], record["logged_at"]
        return [
            (prediction_id, record["request_id"], index, *times, *answer, latency, features)
            for index, (prediction_id, answer, latency, features) in enumerate(
                zip(
                    record["ids"],
                    zip(
                        record["predictions"],
                        record["scores"] or [None] * n,
                        record["probabilities"] or [None] * n,
                        strict=True,
                    ),
                    [record["latency_ms"]] * n,
                    table.rows(),
                    strict=True,
                )
            )
        ]
    except (LookupError, TypeError, ValueError):
        return None
