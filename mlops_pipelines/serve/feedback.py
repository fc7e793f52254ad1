"""The labels that a caller may send to `/feedback`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.bundle import Label as ClassLabel
from mlops_pipelines.serve.signature import (
    AN_ID,
    LISTED_NAMES,
    BadRequest,
    Limits,
    Mistakes,
    is_id,
    json_object,
    media_type,
    refuse_too_many,
)
from mlops_pipelines.serve.times import parse_time

LISTED_IDS = 100


@dataclass(frozen=True)
class Label:
    """The ground truth of one prediction, and when it became known, if the caller says so."""

    prediction_id: str
    label: ClassLabel
    time: datetime | None


def parse_labels(
    body: bytes, content_type: str, bundle: Bundle, received: datetime, limits: Limits | None = None
) -> list[Label]:
    """The labels in a request's body, checked against the task. Raises BadRequest.

    A body is `{"labels": [{"prediction_id", "label", "time"?}, …]}`, or one such label alone. Of
    several labels for one id the last counts, and one that is sent again counts once: a label may
    be corrected, and a request that was not answered be sent again. Labels of unknown ids are
    labels like any other: their prediction may be logged elsewhere, or later.
    """
    if media_type(content_type) != "application/json":
        raise BadRequest(415, "expected the content type application/json")
    document = json_object(body)
    if "prediction_id" in document:
        items: Any = [document]
    else:
        items = document.get("labels")
        if not isinstance(items, list) or not items or len(document) > 1:
            raise BadRequest(400, 'expected {"labels": [{"prediction_id", "label", "time"?}, …]}')
    refuse_too_many(len(items), (limits or Limits()).rows, "labels")
    mistakes = Mistakes()
    labels = []
    for index, item in enumerate(items):
        try:
            labels.append(_label(item, bundle, received))
        except ValueError as exc:
            mistakes.add(f"label {index}: {exc}")
    mistakes.refuse_if_any()
    return labels


def feedback_answer(accepted: int, unknown: Sequence[str]) -> dict[str, Any]:
    """What the caller is told of its labels: all are kept, those of `unknown` ids (each once) too.

    The first of these are listed; status 200 all the same.
    """
    listed = list(unknown[:LISTED_IDS])
    return {"accepted": accepted, "unknown": listed, "unknown_count": len(unknown)}


def _label(item: Any, bundle: Bundle, received: datetime) -> Label:
    if not isinstance(item, dict) or not {"prediction_id", "label"} <= item.keys():
        raise ValueError("expected an object with prediction_id and label")
    if not item.keys() <= {"prediction_id", "label", "time"}:
        raise ValueError("only prediction_id, label and time are allowed")
    if not is_id(item["prediction_id"]):
        raise ValueError(f"prediction_id: {AN_ID}")
    time = item.get("time")
    if time is not None and not isinstance(time, str):
        raise ValueError("time: expected an RFC 3339 time")
    parsed = None if time is None else parse_time(time, received)
    return Label(item["prediction_id"], _truth(item["label"], bundle), parsed)


def _truth(label: Any, bundle: Bundle) -> ClassLabel:
    if bundle.classes is None:
        if isinstance(label, bool) or not isinstance(label, int | float):
            raise ValueError("label: expected a number")
        return float(label)
    for known in bundle.classes:
        # In Python True == 1; a label is the class only as the class is written.
        if known == label and isinstance(known, bool) == isinstance(label, bool):
            return known
    allowed = orjson.dumps(bundle.classes[:LISTED_NAMES]).decode()
    raise ValueError(f"label: expected one of {allowed}")
