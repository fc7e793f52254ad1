"""What a JSON Schema cannot say of a valid request, put right in those that are generated."""

from __future__ import annotations

from typing import Any

import schemathesis

PAST = "2026-01-31T09:30:00Z"


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out generated CSV that is said to be valid: the document calls it a string."""
    generated = case.meta.phase.name.value == "fuzzing"
    valid = case.meta.generation.mode.is_positive
    return not (generated and valid and case.media_type == "text/csv")


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """As many ids as rows, columns of one length, and no time in the future."""
    if not case.meta.generation.mode.is_positive:
        return case
    if "X-Event-Time" in (case.headers or {}):
        case.headers["X-Event-Time"] = PAST
    body = case.body
    if not isinstance(body, dict):
        return case
    for label in [body, *body.get("labels", ())]:
        if label.get("time"):
            label["time"] = PAST
    n = 0
    for form in ("dataframe_records", "instances", "inputs"):
        table = body.get(form, ())
        if isinstance(table, dict):
            n = min(map(len, table.values()))
            body[form] = {name: values[:n] for name, values in table.items()}
        n = n or len(table)
    n = n or len(body.get("dataframe_split", {}).get("data", ()))
    if n and "prediction_ids" in body:
        body["prediction_ids"] = [f"{row}" for row in range(n)]
    return case
