"""The Open Inference Protocol's part of the OpenAPI document.

https://github.com/kserve/open-inference-protocol (inference_rest.md)
"""

from __future__ import annotations

from typing import Any

from mlops_pipelines.serve import __version__
from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.examples import Examples
from mlops_pipelines.serve.openapi_parts import (
    JSON,
    PREDICTION_ID,
    Json,
    answer_headers,
    get,
    json_content,
    refusals,
    request_parameters,
    security,
)
from mlops_pipelines.serve.openapi_schemas import ref
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.signature import Limits
from mlops_pipelines.serve.v2 import (
    Infer,
    infer_response,
    model_metadata,
    outputs_of,
    server_metadata,
)
from mlops_pipelines.serve.v2_tensors import DATATYPES, TAKES

OUTPUTS = ("predictions", "scores", "probabilities", "prediction_ids")
OPEN: Json = {"type": ["object", "null"]}


def v2_schemas(bundle: Bundle, limits: Limits) -> Json:
    """The schemas of the protocol, by the names that `ref` takes."""
    shape = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}
    tensor = {"name": {"type": "string"}, "datatype": {"enum": list(DATATYPES)}}
    about = _object({**tensor, "shape": shape}, ["name", "datatype", "shape"])
    return {
        "Tensor": {
            "description": f"One column of shape [rows] or [rows, 1], or, where all are numbers, "
            f"all of them in one tensor of shape [rows, {len(bundle.columns)}]. The data are in "
            "JSON, flat or nested, or binary after the JSON.",
            **_object(
                {
                    **tensor,
                    "shape": {
                        "type": "array",
                        "prefixItems": [
                            {"type": "integer", "minimum": 1, "maximum": most}
                            for most in (limits.rows, len(bundle.columns))
                        ],
                        "items": False,
                        "minItems": 1,
                    },
                    "data": {"type": "array"},
                    "parameters": OPEN,
                },
                ["name", "datatype", "shape"],
            ),
        },
        "InferRequest": _object(
            {
                "id": {"type": ["string", "null"]},
                "inputs": {"type": "array", "items": ref("Tensor"), "minItems": 1},
                "outputs": {
                    "description": "The outputs that are wanted; all where it is not sent.",
                    "type": ["array", "null"],
                    "items": _object({"name": {"enum": list(OUTPUTS)}}, ["name"]),
                },
                "parameters": {
                    "description": "`prediction_ids` may hold the caller's own ids.",
                    **OPEN,
                },
            },
            ["inputs"],
        ),
        "InferResponse": _object(
            {
                "model_name": {"const": bundle.model},
                "model_version": {"const": str(bundle.version)},
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "outputs": {
                    "type": "array",
                    "items": _object(
                        {**tensor, "shape": shape, "data": {"type": "array"}},
                        ["name", "datatype", "shape", "data"],
                    ),
                },
            },
            ["model_name", "model_version", "outputs"],
        ),
        "ServerMetadata": _object(
            {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "extensions": {"type": "array", "items": {"type": "string"}},
            },
            ["name", "version", "extensions"],
        ),
        "ModelMetadata": _object(
            {
                "name": {"const": bundle.model},
                "versions": {"const": [str(bundle.version)]},
                "platform": {"type": "string"},
                "inputs": {"type": "array", "items": about},
                "outputs": {"type": "array", "items": about},
            },
            ["name", "versions", "platform", "inputs", "outputs"],
        ),
    }


def v2_paths(bundle: Bundle, examples: Examples, needs_token: bool) -> Json:
    """The paths of the protocol; those of a model are there with and without its version."""
    paths: Json = {
        "/v2": {
            "get": get(
                "v2_server",
                "v2",
                "The server",
                json_content(ref("ServerMetadata"), server_metadata(__version__)),
            )
        },
        "/v2/health/live": {
            "get": get("v2_live", "v2", "Whether the process answers", _says("live"))
        },
        "/v2/health/ready": {
            "get": _ready("v2_ready", "Whether it should get traffic", _says("ready"))
        },
    }
    answer = examples.answer
    about = answer and model_metadata(bundle, examples.runtime, outputs_of(answer))
    name = _in_path("name", "The model", bundle.model)
    version = _in_path("version", "Its version", str(bundle.version))
    for suffix, base, parameters in (
        ("", "/v2/models/{name}", [name]),
        ("_version", "/v2/models/{name}/versions/{version}", [name, version]),
    ):
        metadata = get(
            f"v2_model{suffix}",
            "v2",
            "The model's tensors",
            json_content(ref("ModelMetadata"), about),
        )
        ready = _ready(
            f"v2_model{suffix}_ready",
            "Whether the model answers",
            _says("ready", name=bundle.model),
        )
        infer = _infer(f"v2_infer{suffix}", bundle, examples, needs_token)
        for path, method, operation in (
            (base, "get", metadata),
            (f"{base}/ready", "get", ready),
            (f"{base}/infer", "post", infer),
        ):
            operation["responses"]["404"] = ref("NotFound", "responses")
            paths[path] = {"parameters": parameters, method: operation}
    return paths


def _infer(name: str, bundle: Bundle, examples: Examples, needs_token: bool) -> Json:
    row = [
        {"name": column.name, "shape": [1], "datatype": TAKES[column.type][0], "data": [value]}
        for column, value in zip(bundle.columns, examples.row, strict=True)
    ]
    bodies: Json = {"columns": {"value": {"inputs": row}}}
    if all(column.type in ("double", "long") for column in bundle.columns):
        shape = [1, len(bundle.columns)]
        rows = {"name": "rows", "shape": shape, "datatype": "FP64", "data": [examples.row]}
        bodies = {"rows": {"value": {"inputs": [rows]}}, **bodies}
    return {
        "operationId": name,
        "summary": "Predictions for tensors",
        "tags": ["v2"],
        **security(needs_token),
        "parameters": request_parameters(),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref("InferRequest"), "examples": bodies}},
        },
        "responses": {
            "200": {
                "description": "The answer, which is in the log",
                "headers": answer_headers(),
                "content": json_content(ref("InferResponse"), _answer(bundle, examples)),
            },
            **refusals(needs_token),
        },
    }


def _answer(bundle: Bundle, examples: Examples) -> Any:
    answer = examples.answer
    if answer is None:
        return None
    infer = Infer(Rows([examples.row]), None, outputs_of(answer))
    answered = Answered(answer.predictions, answer.scores, answer.probabilities, [PREDICTION_ID])
    return infer_response(bundle, infer, answered)


def _ready(name: str, summary: str, content: Json) -> Json:
    ready = get(name, "v2", summary, content)
    ready["responses"]["503"] = {"description": "Not now", "content": content}
    return ready


def _says(flag: str, **more: str) -> Json:
    said = {key: {"const": value} for key, value in more.items()}
    schema = _object({flag: {"type": "boolean"}, **said}, [flag, *said])
    return json_content(schema, {flag: True, **more})


def _in_path(name: str, description: str, only: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"enum": [only]},
    }


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required}
