"""What `resources/<environment>.yaml` may say: where MLflow, the store and the bundles are.

Secrets are named, never written: `{env: NAME}` is looked up when it is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from mlops_pipelines.errors import DeclarationError, MlopsError
from mlops_pipelines.located import read_documents, validate
from mlops_pipelines.parts import FromEnv, Part, Text
from mlops_pipelines.wording import FieldError, shown


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
    engine: Text | None = Field(
        None,
        description="Ibis address of the warehouse that holds the answered rows, such as "
        "postgres://…; default: DuckDB over the store's own Parquet",
    )


class ProcessTarget(Part):
    """Bundles run as worker processes of this machine, behind one stable port per model."""

    type: Literal["process"] = "process"
    host: str = Field("127.0.0.1", description="address the servers listen on")
    ports: tuple[int, int] = Field((8100, 8199), description="first and last port to choose from")

    @field_validator("ports", mode="before")
    @classmethod
    def _two_in_order(cls, ports: Any) -> Any:
        numbers = list(ports) if isinstance(ports, list | tuple) else []
        whole = len(numbers) == 2 and all(type(port) is int for port in numbers)
        if not whole or not 1024 <= numbers[0] <= numbers[1] <= 65535:
            raise ValueError("must be [first, last], between 1024 and 65535")
        return ports


class Gateway(Part):
    """The one address in front of all models of an environment (HAProxy)."""

    image: str = Field("haproxy:2.8", description="image with HAProxy 2.6 or newer")
    host: str = Field("127.0.0.1", description="address of this machine that it listens on")
    port: int = Field(8080, ge=1024, le=65535)
    stats_port: int = Field(
        8081, ge=1024, le=65535, description="its own metrics for Prometheus, at /metrics"
    )


class DockerTarget(Part):
    """Bundles become images and run as containers behind a gateway."""

    type: Literal["docker"]
    base_image: str = Field(
        "python:3.11-slim",
        description="what every runtime image is built on; BASE_IMAGE in the environment wins",
    )
    network: str = Field(
        "mlops", pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$", description="the containers' own network"
    )
    gateway: Gateway = Field(default_factory=Gateway)


class KubernetesTarget(Part):
    """Bundles become images, and versions become objects of a cluster."""

    type: Literal["kubernetes"]
    base_image: str = Field("python:3.11-slim", description="as of target docker")
    repository: str = Field(
        description="where the cluster pulls images from, such as images.internal/models"
    )
    namespace: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    context: str | None = Field(None, description="of the kubeconfig; default: its current one")
    host: str | None = Field(
        None, description="where callers reach the services; default: the names inside the cluster"
    )


def _of_known_type(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    kind = settings.get("type", "process")
    if kind not in ("process", "docker", "kubernetes"):
        raise FieldError(f"must be 'process', 'docker' or 'kubernetes', not {shown(kind)}", "type")
    return {"type": kind, **settings}


Target = Annotated[
    Annotated[ProcessTarget | DockerTarget | KubernetesTarget, Field(discriminator="type")],
    BeforeValidator(_of_known_type),
]


class Alerts(Part):
    """Where people are told; the log is always told."""

    urls: tuple[Text, ...] = Field((), description="Apprise URLs, best as {env: NAME}")


class DagsterStorage(Part):
    """Where Dagster keeps runs and events."""

    postgres_url: Text | None = Field(None, description="default: SQLite under MLOPS_HOME")


class Environment(Part):
    """One environment: everything that differs between a laptop and production."""

    mlflow: Mlflow = Field(default_factory=Mlflow)
    store: StoreSettings = Field(default_factory=StoreSettings)
    target: Target = Field(default_factory=ProcessTarget)
    alerts: Alerts = Field(default_factory=Alerts)
    dagster: DagsterStorage = Field(default_factory=DagsterStorage)


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
        return Environment()
    if len(documents) > 1:
        message = "is a second document; an environment is one"
        raise DeclarationError([documents[1].mistake((), message)])
    return validate(Environment, documents[0])


def resolve(value: Text | None, default: str = "") -> str:
    """A setting's value now: itself, or the environment variable that it names."""
    if value is None:
        return default
    if isinstance(value, FromEnv):
        found = os.environ.get(value.env)
        if not found:
            raise MlopsError(
                f"environment variable {value.env} is not set, and {{env: {value.env}}} asks for "
                "it; export it, or choose another environment with MLOPS_ENV"
            )
        return found
    return value


def unset(part: Part) -> list[str]:
    """The environment variables that `part` and the parts in it ask for, and that are not set."""
    found: list[str] = []
    for value in vars(part).values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, FromEnv):
                found += [] if os.environ.get(each.env) else [each.env]
            elif isinstance(each, Part):
                found += unset(each)
    return found


def shown_uri(uri: str) -> str:
    """`uri` as it may be shown: without user, password and query."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def with_driver(uri: str) -> str:
    """`uri` with the PostgreSQL driver that is among the requirements, where it names none.

    SQLAlchemy 2.1 would take psycopg 3.
    """
    scheme, _, rest = uri.partition("://")
    return f"postgresql+psycopg2://{rest}" if scheme in ("postgresql", "postgres") else uri
