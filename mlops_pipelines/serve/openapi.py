"""The OpenAPI document of one server: every path, and real examples of its model."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson

from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.examples import Examples
from mlops_pipelines.serve.feedback import feedback_answer
from mlops_pipelines.serve.openapi_parts import (
    JSON,
    PREDICTION_ID,
    Json,
    answer_headers,
    components,
    get,
    json_content,
    refusals,
    request_parameters,
    security,
)
from mlops_pipelines.serve.openapi_schemas import ref, schemas
from mlops_pipelines.serve.openapi_v2 import v2_paths, v2_schemas
from mlops_pipelines.serve.signature import Limits

METRICS = "text/plain; version=0.0.4; charset=utf-8"
PAGE = "text/html; charset=utf-8"
TEXT: Json = {"schema": {"type": "string"}}


def openapi(bundle: Bundle, examples: Examples, limits: Limits, needs_token: bool) -> Json:
    """The document (OpenAPI 3.1), as plain values.

    `x-model` and `x-limits` say what is served and how much is taken at once. The first call asks
    the model once, for its answer to the example row.
    """
    live = {"type": "object", "properties": {"live": {"const": True}}, "required": ["live"]}
    who = {"model": bundle.model, "version": bundle.version, "bundle": bundle.digest}
    index = who | {"endpoints": {"/invocations": "POST", "/feedback": "POST"}}
    about: dict[str, tuple[str, str, Json]] = {
        "/health/live": ("live", "Whether the process answers", json_content(live, {"live": True})),
        "/metrics": ("metrics", "Counts for Prometheus", {METRICS: TEXT}),
        "/": ("index", "What is served, and the paths", json_content(ref("Index"), index)),
        "/openapi.json": ("openapi", "This document", json_content({"type": "object"})),
        "/docs": ("docs", "This document as a page", {PAGE: TEXT}),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{bundle.model}, version {bundle.version}",
            "version": str(bundle.version),
            "description": "Every answer is in the prediction log before it is sent.",
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/invocations": {"post": _invocations(bundle, examples, needs_token)},
            "/feedback": {"post": _feedback(bundle, examples, needs_token)},
            "/health/ready": {"get": _ready(who)},
            **{
                path: {"get": get(name, "about", summary, content)}
                for path, (name, summary, content) in about.items()
            },
            **v2_paths(bundle, examples, needs_token),
        },
        "components": {
            "schemas": schemas(bundle, limits) | v2_schemas(bundle, limits),
            **components(bundle, limits, needs_token),
        },
        "x-model": _about(bundle, examples),
        "x-limits": {
            "rows": limits.rows,
            "body_bytes": limits.body_bytes,
            "request_seconds": limits.request_seconds,
            "in_flight": limits.in_flight,
        },
    }


def _invocations(bundle: Bundle, examples: Examples, needs_token: bool) -> Json:
    names, row = list(bundle.names), examples.row
    record = dict(zip(names, row, strict=True))
    tables: dict[str, Any] = {
        "dataframe_records": [record],
        "dataframe_split": {"columns": names, "data": [row]},
        "instances": [row],
        "inputs": {name: [value] for name, value in record.items()},
    }
    bodies = {form: {"value": {form: table}} for form, table in tables.items()}
    own = {"dataframe_records": [record], "prediction_ids": [PREDICTION_ID]}
    bodies["prediction_ids"] = {"value": own}
    text = {
        "type": "string",
        "description": "UTF-8, with a header line of all columns; an empty field is null.",
    }
    return {
        "operationId": "invocations",
        "summary": "Predictions for rows",
        "tags": ["predictions"],
        **security(needs_token),
        "parameters": request_parameters(),
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": ref("Table"), "examples": bodies},
                "text/csv": {"schema": text, "examples": {"csv": {"value": _csv(names, row)}}},
            },
        },
        "responses": {
            "200": {
                "description": "The answer, which is in the log",
                "headers": answer_headers(),
                "content": json_content(ref("Predictions"), _answer(bundle, examples)),
            },
            **refusals(needs_token),
        },
    }


def _answer(bundle: Bundle, examples: Examples) -> Json | None:
    """What the model says to the example row, as /invocations puts it."""
    answer = examples.answer
    if answer is None:
        return None
    return {
        "predictions": answer.predictions,
        **({} if answer.scores is None else {"scores": answer.scores}),
        "prediction_ids": [PREDICTION_ID],
        "model": bundle.model,
        "version": bundle.version,
    }


def _feedback(bundle: Bundle, examples: Examples, needs_token: bool) -> Json:
    label = examples.answer.predictions[0] if examples.answer else None
    if label is None:
        label = bundle.classes[0] if bundle.classes else 0.0
    told = {"prediction_id": PREDICTION_ID, "label": label}
    dated = told | {"time": "2026-01-31T09:30:00Z"}
    return {
        "operationId": "feedback",
        "summary": "What turned out to be true of predictions, by their ids",
        "tags": ["labels"],
        **security(needs_token),
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": ref("Labels"),
                    "examples": {"labels": {"value": {"labels": [dated]}}, "one": {"value": told}},
                }
            },
        },
        "responses": {
            "200": {
                "description": "The labels are in the log",
                "content": json_content(ref("Accepted"), feedback_answer(1, [])),
            },
            **refusals(needs_token, model=False),
        },
    }


def _ready(who: Json) -> Json:
    content = json_content(ref("Readiness"), {"ready": True, "state": "serving", **who})
    unready = {"ready": False, "state": "draining", **who, "reason": "draining"}
    ready = get("ready", "about", "Whether this worker should get traffic", content)
    ready["responses"]["503"] = {
        "description": "It should get none",
        "content": json_content(ref("Readiness"), unready),
    }
    return ready


def _about(bundle: Bundle, examples: Examples) -> Json:
    return {
        "name": bundle.model,
        "version": bundle.version,
        "task": bundle.task,
        "target": bundle.target,
        "classes": None if bundle.classes is None else list(bundle.classes),
        "runtime": examples.runtime,
        "bundle": bundle.digest,
        "columns": [
            {
                "name": column.name,
                "type": column.type,
                "nullable": column.nullable,
                "levels": None if column.levels is None else list(column.levels),
            }
            for column in bundle.columns
        ],
    }


def _csv(names: list[str], row: list[Any]) -> str:
    text = io.StringIO()
    values = [orjson.dumps(v).decode() if isinstance(v, bool) else v for v in row]
    csv.writer(text, lineterminator="\n").writerows([names, values])
    return text.getvalue()
