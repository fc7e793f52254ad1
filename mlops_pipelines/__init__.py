"""Keeps machine-learning models healthy in production: train, gate, release, watch, roll back."""

from __future__ import annotations

import os
from typing import Any

# Nothing phones home unless someone asks for it. OpenMP's threads that wait for each other must
# not spin: on shared cores a fit of half a second then takes ten.
for _name, _value in {
    "OMP_WAIT_POLICY": "PASSIVE",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
}.items():
    os.environ.setdefault(_name, _value)

__all__ = ["MonitoredModel"]


def __getattr__(name: str) -> Any:
    # Importing the package must not import Dagster: servers and the command line start from it.
    if name == "MonitoredModel":
        from mlops_pipelines.component import MonitoredModel

        return MonitoredModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
