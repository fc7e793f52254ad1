"""What the pages say of the rows that a version was made from."""

from __future__ import annotations

from html import escape

from mlops_pipelines.explain.markup import time
from mlops_pipelines.explain.record_schema import Data


def data_facts(data: Data) -> list[tuple[str, str]]:
    """Names beside values, which are HTML; empty where there is nothing to say."""
    span = ""
    if data.first_time and data.last_time:
        column = escape(str(data.event_time))
        span = f"{time(data.first_time)} to {time(data.last_time)} (by {column})"
    classes = ", ".join(f"{name}: {n:,}" for name, n in (data.class_counts or {}).items())
    return [
        ("source", escape(data.source)),
        (
            "rows",
            f"{data.rows:,}: {data.train_rows:,} to learn from, "
            f"{data.holdout_rows:,} to be measured on",
        ),
        ("time span", span),
        ("target", escape(data.target) + (f" ({escape(classes)})" if classes else "")),
        ("segments", escape(", ".join(data.segments))),
    ]
