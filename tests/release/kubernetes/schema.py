"""The published schemas of the Kubernetes API, trimmed to what is rendered here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

_API = "io.k8s.api"
_NAMES = {
    "Deployment": f"{_API}.apps.v1.Deployment",
    "HorizontalPodAutoscaler": f"{_API}.autoscaling.v2.HorizontalPodAutoscaler",
    "NetworkPolicy": f"{_API}.networking.v1.NetworkPolicy",
    "PersistentVolumeClaim": f"{_API}.core.v1.PersistentVolumeClaim",
    "Pod": f"{_API}.core.v1.Pod",
    "PodDisruptionBudget": f"{_API}.policy.v1.PodDisruptionBudget",
    "Service": f"{_API}.core.v1.Service",
    "Status": "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
}


def mistakes(rendered: dict[str, Any]) -> list[str]:
    """Where an object is not what its schema says: a missing, unknown or wrong field."""
    found = _validator(rendered["kind"]).iter_errors(rendered)
    return sorted(f"{error.json_path}: {error.message}" for error in found)


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    file = Path(__file__).with_name("schemas") / "kubernetes-1.37.json"
    definitions = json.loads(file.read_text("utf-8"))["$defs"]
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/$defs/{_NAMES[kind]}", "$defs": definitions}
    )
