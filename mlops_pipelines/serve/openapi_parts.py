"""What the operations of the OpenAPI document share: headers, refusals, and their examples."""

from __future__ import annotations

from typing import Any

import orjson

from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.openapi_schemas import ref
from mlops_pipelines.serve.protocol import TableParser
from mlops_pipelines.serve.signature import BadRequest, Limits

Json = dict[str, Any]

JSON = "application/json"
PREDICTION_ID = "0198c2a0-7b3e-7cc1-9a4f-3f6f0f1d2a55"
REQUEST_ID = "0198c2a0-7b3e-7cc1-9a4f-3f6f0f1d2a54"
ERROR_ID = "0198c2a0-7b3e-7cc1-9a4f-3f6f0f1d2a56"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

REFUSALS = {
    "400": "BadRequest",
    "401": "Unauthorized",
    "405": "MethodNotAllowed",
    "408": "TooSlow",
    "413": "TooLarge",
    "415": "UnsupportedType",
    "500": "ModelFailed",
    "503": "Unavailable",
}


def refusals(needs_token: bool, model: bool = True) -> Json:
    """The responses other than 200 of what takes a body; without `model`, none is asked."""
    left_out = {"" if needs_token else "401", "" if model else "500"}
    return {
        status: ref(name, "responses")
        for status, name in REFUSALS.items()
        if status not in left_out
    }


def security(needs_token: bool) -> Json:
    """What an operation says where it needs a token."""
    return {"security": [{"bearer": []}]} if needs_token else {}


def request_parameters() -> list[Json]:
    """The headers that a request for predictions may have."""
    return [ref(name, "parameters") for name in ("RequestId", "EventTime", "Traceparent")]


def answer_headers() -> Json:
    """The headers of an answer by a model."""
    return {
        "X-Model": ref("Model", "headers"),
        "X-Model-Version": ref("ModelVersion", "headers"),
        "X-Request-Id": ref("RequestId", "headers"),
    }


def get(name: str, tag: str, summary: str, content: Json) -> Json:
    """An operation that only tells something."""
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": summary, "content": content},
            "405": ref("MethodNotAllowed", "responses"),
        },
    }


def json_content(schema: Json, example: Any = None) -> Json:
    """The content of a response in JSON, with an example where there is one."""
    examples = {} if example is None else {"examples": {"answer": {"value": example}}}
    return {JSON: {"schema": schema, **examples}}


def components(bundle: Bundle, limits: Limits, needs_token: bool) -> Json:
    """The parameters, headers, responses and security schemes that operations refer to."""
    parts: Json = {
        "parameters": _parameters(),
        "headers": _headers(bundle),
        "responses": _responses(bundle, limits),
    }
    if needs_token:
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    else:
        del parts["responses"]["Unauthorized"]
    return parts


def _parameters() -> Json:
    return {
        "RequestId": _parameter(
            "X-Request-Id",
            "Comes back with the answer and stands in the log. Where it is not sent, the request "
            "is named by its trace, or by a new id.",
            {"type": "string"},
            REQUEST_ID,
        ),
        "EventTime": _parameter(
            "X-Event-Time",
            "The time that the rows are about, if it is not now; not in the future.",
            {"type": "string", "format": "date-time"},
            "2026-01-31T09:30:00Z",
        ),
        "Traceparent": _parameter(
            "traceparent",
            "The trace of the caller (W3C Trace Context); one that is not valid is left aside.",
            {"type": "string"},
            TRACEPARENT,
        ),
    }


def _parameter(name: str, description: str, schema: Json, example: str) -> Json:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": schema,
        "example": example,
    }


def _headers(bundle: Bundle) -> Json:
    return {
        "Model": {"required": True, "schema": {"const": bundle.model}},
        "ModelVersion": {"required": True, "schema": {"const": str(bundle.version)}},
        "RequestId": {"required": True, "schema": {"type": "string"}, "example": REQUEST_ID},
        "RetryAfter": {
            "description": "Seconds after which to try again.",
            "required": True,
            "schema": {"type": "string", "pattern": r"^\d+$"},
            "example": "1",
        },
        "Allow": {"required": True, "schema": {"type": "string"}, "example": "POST"},
        "Challenge": {"required": True, "schema": {"const": "Bearer"}},
    }


def _responses(bundle: Bundle, limits: Limits) -> Json:
    retry = {"Retry-After": ref("RetryAfter", "headers")}
    media = "expected the content type application/json or text/csv"
    too_large = f"the body is too long; at most {limits.body_bytes} bytes"
    too_slow = f"the request was not complete within {limits.request_seconds:g} seconds"
    return {
        "BadRequest": _error("Something in the request does not fit", _mistake(bundle, limits)),
        "Unauthorized": _error(
            "No token was sent, or one that is not allowed",
            "the bearer token is not one that is allowed here",
            {"WWW-Authenticate": ref("Challenge", "headers")},
        ),
        "NotFound": _error("There is no such path, or no such model", "no such path"),
        "MethodNotAllowed": _error(
            "The path is there, the method is not",
            "only POST is allowed here",
            {"Allow": ref("Allow", "headers")},
        ),
        "TooSlow": _error("The request did not come to its end in time", too_slow),
        "TooLarge": _error("Too many bytes or too many rows", too_large),
        "UnsupportedType": _error("The content type is not known", media),
        "ModelFailed": _error(
            "The model failed; the request is kept", "the model failed", error_id=ERROR_ID
        ),
        "Unavailable": _error(
            "Too many requests at once, or the log cannot be written; nothing was answered",
            "too many requests at once",
            retry,
        ),
    }


def _error(description: str, error: str, headers: Json | None = None, **more: str) -> Json:
    document = {"error": error, **more, "request_id": REQUEST_ID}
    response: Json = {"description": description, "content": json_content(ref("Error"), document)}
    return response | ({"headers": headers} if headers else {})


def _mistake(bundle: Bundle, limits: Limits) -> str:
    """What is said to a row of arrays, of which no column can be one."""
    body = orjson.dumps({"instances": [[[]] * len(bundle.columns)]})
    try:
        TableParser(bundle.columns, limits).parse(body, JSON)
    except BadRequest as exc:
        return str(exc).partition(";")[0]
    raise AssertionError("a column took an array")
