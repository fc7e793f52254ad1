"""What may be sent and what is answered, as JSON Schemas made from a bundle's signature."""

from __future__ import annotations

from typing import Any

from mlops_pipelines.serve.bundle import Bundle, Column
from mlops_pipelines.serve.feedback import LISTED_IDS
from mlops_pipelines.serve.signature import ID_LENGTH, LARGEST_DOUBLE, Limits

Schema = dict[str, Any]

LARGEST_LONG = (1 << 63) - 1
TYPES: dict[str, Schema] = {
    "double": {"type": "number", "minimum": -LARGEST_DOUBLE, "maximum": LARGEST_DOUBLE},
    "long": {"type": "integer", "minimum": -LARGEST_LONG - 1, "maximum": LARGEST_LONG},
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
}
LABEL_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_LENGTH,
    "pattern": "^[^\\u0000-\\u001f\\u007f]+$",
}
# A model's sum may overflow, which JSON can only call null.
NUMBER: Schema = {"type": ["number", "null"]}


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to one of the document's components."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schemas(bundle: Bundle, limits: Limits) -> dict[str, Schema]:
    """The schemas by the names that `ref` takes."""
    rows = {"minItems": 1, "maxItems": limits.rows}
    cells = [column_schema(column) for column in bundle.columns]
    names = list(bundle.names)
    ids = {"type": "array", "items": ID, "uniqueItems": True} | rows
    return {
        "Row": _object(dict(zip(names, cells, strict=True))),
        "Values": {
            "type": "array",
            "description": "The values of one row, in the signature's order.",
            "prefixItems": cells,
            "items": False,
            "minItems": len(cells),
        },
        "Rows": {"type": "array", "items": ref("Row")} | rows,
        "Lists": {"type": "array", "items": ref("Values")} | rows,
        "Columns": {
            "description": "The values of each column; all columns of one length.",
            **_object(
                {
                    name: {"type": "array", "items": cell} | rows
                    for name, cell in zip(names, cells, strict=True)
                }
            ),
        },
        "Split": {
            "description": "What pandas writes with orient='split'; the index is not used.",
            **_object(
                {"columns": {"const": names}, "data": ref("Lists"), "index": {}},
                {"index"},
            ),
        },
        "PredictionIds": {
            "description": "The caller's own ids, one for each row, each once. Where they are not "
            "sent, the server makes them. A row that is sent again under its id counts once.",
            **ids,
        },
        "Table": {
            "description": "Rows in one of MLflow's forms.",
            "oneOf": [
                _table("dataframe_records", ref("Rows")),
                _table("dataframe_split", ref("Split")),
                _table("instances", {"anyOf": [ref("Lists"), ref("Rows")]}),
                _table("inputs", {"anyOf": [ref("Columns"), ref("Lists"), ref("Rows")]}),
            ],
        },
        "Predictions": {
            "description": "One prediction, score and id for each row, in the order of the rows.",
            **_object(
                {
                    "predictions": {"type": "array", "items": label_schema(bundle)} | rows,
                    "scores": {
                        "description": _SCORES[bundle.task],
                        "type": "array",
                        "items": NUMBER,
                        **rows,
                    },
                    "prediction_ids": ids,
                    "model": {"const": bundle.model},
                    "version": {"const": bundle.version},
                },
                {"scores"},
            ),
        },
        "Label": _object(
            {
                "prediction_id": ID,
                "label": label_schema(bundle, truth=True),
                "time": {
                    "description": "When the label became known; not in the future.",
                    "type": ["string", "null"],
                    "format": "date-time",
                },
            },
            {"time"},
        ),
        "Labels": {
            "description": "Labels of many predictions, or of one. Of several for one id the last "
            "counts, so that one that is sent again counts once.",
            "oneOf": [
                _object({"labels": {"type": "array", "items": ref("Label")} | rows}),
                ref("Label"),
            ],
        },
        "Accepted": {
            "description": "All labels are kept. The ids that this server did not find in its log "
            "are counted, and the first of them listed.",
            **_object(
                {
                    "accepted": {"type": "integer", "minimum": 1},
                    "unknown": {"type": "array", "items": ID, "maxItems": LISTED_IDS},
                    "unknown_count": {"type": "integer", "minimum": 0},
                }
            ),
        },
        "Error": {
            "description": "What was refused or went wrong. A message names row (from 0) and "
            "column, what was expected and the type that was found, never a value.",
            **_object(
                {
                    "error": {"type": "string"},
                    "request_id": {"type": "string"},
                    "error_id": {"description": "Leads to the log.", "type": "string"},
                },
                {"request_id", "error_id"},
            ),
        },
        "Readiness": {
            "type": "object",
            "properties": {
                "ready": {"type": "boolean"},
                "state": {"enum": ["waiting", "serving", "draining"]},
                "reason": {"type": "string"},
                **_who(bundle),
            },
            "required": ["ready", "state", *_who(bundle)],
        },
        "Index": {
            "type": "object",
            "properties": {
                **_who(bundle),
                "endpoints": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": [*_who(bundle), "endpoints"],
        },
    }


_SCORES = {
    "binary_classification": "The probability of the positive class.",
    "multiclass_classification": "The probability of the predicted class.",
    "regression": "The prediction itself.",
}


def column_schema(column: Column) -> Schema:
    """What a value of the column may be."""
    schema = TYPES[column.type]
    if column.levels is not None:
        return {"enum": [*column.levels, *([None] if column.nullable else [])]}
    return schema | {"type": [schema["type"], "null"]} if column.nullable else schema


def label_schema(bundle: Bundle, truth: bool = False) -> Schema:
    """What a prediction may be, or the truth about one."""
    if bundle.classes is not None:
        # In JSON Schema 1 and 1.0 are equal, true and 1 are not.
        return {"type": LABEL_TYPES[type(bundle.classes[0])], "enum": list(bundle.classes)}
    return {"type": "number"} if truth else NUMBER


def _object(properties: dict[str, Schema], optional: set[str] | None = None) -> Schema:
    required = [name for name in properties if name not in (optional or ())]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _table(form: str, schema: Schema) -> Schema:
    properties = {form: schema, "prediction_ids": ref("PredictionIds")}
    return {"title": form, **_object(properties, {"prediction_ids"})}


def _who(bundle: Bundle) -> dict[str, Schema]:
    return {
        "model": {"const": bundle.model},
        "version": {"const": bundle.version},
        "bundle": {"const": bundle.digest},
    }
