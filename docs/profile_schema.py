"""Writes docs/profile.schema.json again: what a profile, and a file of windows, look like.

python docs/profile_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops_pipelines.measure import profile, window

FILE = Path(__file__).with_name("profile.schema.json")

COUNTS = {"type": "array", "items": {"type": "integer", "minimum": 0}}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def schema() -> dict[str, Any]:
    """The JSON schema of both files."""
    numeric = {
        "edges": {
            "description": "lower edges of the bins, in order, then the upper end of the range",
            "type": "array",
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": profile.MAX_BINS + 1,
        }
    }
    categorical = {
        "levels": {"type": "array", "items": {"type": "string"}, "maxItems": profile.MAX_LEVELS}
    }
    counted = {
        "n": {"description": "rows", "type": "integer", "minimum": 0},
        "counts": {
            "description": "for each column: of numbers below the range, the bins, above it, and "
            "missing; of a category its levels, all others, and missing",
            "type": "array",
            "items": COUNTS,
        },
        "totals": {
            "description": "for each column the sum of its numbers; 0 of a category",
            "type": "array",
            "items": {"type": "number"},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Profiles: counts per bin of each column, and no row",
        "oneOf": [_ref("reference"), _ref("windows")],
        "$defs": {
            "reference": {
                "description": "the reference profile of a version, as its bundle holds it",
                **_object(
                    {
                        "schema": {"const": profile.SCHEMA},
                        "n": counted["n"],
                        "columns": {"type": "array", "items": _ref("column")},
                    }
                ),
            },
            "column": _object(
                {
                    "name": {"type": "string"},
                    "kind": {"enum": ["numeric", "categorical"]},
                    "edges": {"type": "array", "items": {"type": "number"}},
                    "levels": categorical["levels"],
                    "counts": COUNTS,
                    "total": {"type": "number"},
                }
            ),
            "windows": {
                "description": "what versions answered in stretches of time; windows of one "
                "version and the same bins add",
                **_object(
                    {
                        "schema": {"const": window.SCHEMA},
                        "bins": {
                            "description": "the sets of bins that the windows were counted in",
                            "type": "array",
                            "items": {"type": "array", "items": _ref("bins")},
                        },
                        "windows": {"type": "array", "items": _ref("window")},
                    },
                    {
                        "source": {
                            "description": "of a kept day: which state of its rows was counted",
                            "type": "object",
                        }
                    },
                ),
            },
            "bins": {
                "oneOf": [
                    _object({"name": {"type": "string"}, "kind": {"const": kind}, **ends})
                    for kind, ends in (("numeric", numeric), ("categorical", categorical))
                ]
            },
            "window": _object(
                {
                    "model": {"type": "string"},
                    "version": {"type": "integer"},
                    "start": {"description": "ISO 8601, UTC", "type": "string"},
                    "end": {"description": "ISO 8601, UTC, exclusive", "type": "string"},
                    "bins": {"description": "place in bins", "type": "integer", "minimum": 0},
                    **counted,
                    "segments": {
                        "description": "by segment column and value; (other) and (missing) too",
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "additionalProperties": _object(counted),
                        },
                    },
                }
            ),
        },
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", "utf-8")
