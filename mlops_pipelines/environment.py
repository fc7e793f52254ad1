"""What `resources/<environment>.yaml` may say: where MLflow, the store and the bundles are.

Secrets are named, never written: `{env: NAME}` is looked up when it is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mlops_pipelines.errors import MlopsError
from mlops_pipelines.located import read_documents, validate
from mlops_pipelines.spec import FromEnv, Part

Text = str | FromEnv


class Mlflow(Part):
    """Where versions, parameters, metrics and curves are kept."""

    tracking_uri: Text | None = Field(
        None, description="MLflow server or database; default: SQLite under MLOPS_HOME"
    )
    artifact_root: Text | None = Field(
        None, description="where new experiments keep artifacts; default: beside the database"
    )


class StoreSettings(Part):
    """Where rows, bundles, profiles and reports are kept."""

    root: Text | None = Field(
        None, description="folder, or s3://bucket/prefix; default: `store` under MLOPS_HOME"
    )


class ProcessTarget(Part):
    """Bundles run as worker processes of this machine, behind one stable port per model."""

    type: Literal["process"] = "process"
    host: str = Field("127.0.0.1", description="address the servers listen on")
    ports: tuple[int, int] = Field((8100, 8199), description="first and last port to choose from")

    @model_validator(mode="after")
    def _ordered(self) -> ProcessTarget:
        low, high = self.ports
        if not 1024 <= low <= high <= 65535:
            raise ValueError("ports must be [first, last] between 1024 and 65535")
        return self


class Alerts(Part):
    """Where people are told; the log is always told."""

    urls: tuple[Text, ...] = Field((), description="Apprise URLs, best as {env: NAME}")


class DagsterStorage(Part):
    """Where Dagster keeps runs and events."""

    postgres_url: Text | None = Field(None, description="default: SQLite under MLOPS_HOME")


class Environment(Part):
    """One environment: everything that differs between a laptop and production."""

    mlflow: Mlflow = Field(default_factory=lambda: Mlflow())  # type: ignore[call-arg]
    store: StoreSettings = Field(default_factory=lambda: StoreSettings())  # type: ignore[call-arg]
    target: ProcessTarget = Field(default_factory=lambda: ProcessTarget())  # type: ignore[call-arg]
    alerts: Alerts = Field(default_factory=lambda: Alerts())  # type: ignore[call-arg]
    dagster: DagsterStorage = Field(default_factory=lambda: DagsterStorage())  # type: ignore[call-arg]


def load_environment(root: Path, name: str) -> Environment:
    """`resources/<name>.yaml` of the project `root`; raises DeclarationError, MlopsError."""
    path = root / "resources" / f"{name}.yaml"
    if not path.exists():
        known = sorted(file.stem for file in (root / "resources").glob("*.yaml"))
        raise MlopsError(
            f"MLOPS_ENV={name}: there is no resources/{name}.yaml; there are: {', '.join(known)}"
        )
    documents = read_documents(path, f"resources/{name}.yaml")
    if not documents:
        return Environment()  # type: ignore[call-arg]
    return validate(Environment, documents[0])


def resolve(value: Text | None, default: str = "") -> str:
    """A setting's value now: itself, or the environment variable that it names."""
    if value is None:
        return default
    if isinstance(value, FromEnv):
        found = os.environ.get(value.env)
        if not found:
            raise MlopsError(
                f"environment variable {value.env} is not set; the environment needs it"
            )
        return found
    return value
