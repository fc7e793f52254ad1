"""The Dagster resources that an environment becomes: addresses and names, no connections.

Rooms open what they need from these. A secret given as `{env: NAME}` stays an `EnvVar`, so that the
Dagster UI shows its name and never its value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, TypeAdapter

from mlops_pipelines.environment import Target
from mlops_pipelines.parts import FromEnv, Text
from mlops_pipelines.project import Project
from mlops_pipelines.store import Store


class ProjectResource(dg.ConfigurableResource):
    """The project folder, whose code and lock file are behind every version."""

    root: str = Field(description="folder with assets/ and resources/")
    environment: str = Field(description="which resources/<environment>.yaml is in force")

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root)


class MlflowResource(dg.ConfigurableResource):
    """Where MLflow keeps versions, parameters, metrics and curves."""

    tracking_uri: str = Field(description="MLflow server or database")
    artifact_root: str = Field(
        "", description="artifacts of new experiments; empty: server decides"
    )


class StoreResource(dg.ConfigurableResource):
    """Where rows, bundles, profiles and reports lie."""

    root: str = Field(description="folder, or address of an object store")
    cache: str = Field(description="where bundles of an object store are copied to")
    engine: str = Field("", description="Ibis address of a warehouse with the rows; empty: none")

    def open(self) -> Store:
        """The store."""
        return Store(self.root, cache=Path(self.cache))


class TargetResource(dg.ConfigurableResource):
    """Where bundles run."""

    home: str = Field(description="where the servers keep their logs")
    settings: dict[str, Any] = Field(description="`target` of resources/<environment>.yaml")

    @property
    def parsed(self) -> Target:
        """The settings, as the environment knows them."""
        return TypeAdapter(Target).validate_python(self.settings)


class AlertsResource(dg.ConfigurableResource):
    """Who is told; the log always is."""

    urls: list[str] = Field(default_factory=list, description="Apprise URLs")


def resources(project: Project) -> dict[str, Any]:
    """What the environment of `project` becomes, by resource key."""
    environment = project.environment
    home = project.home
    uri, artifacts = environment.mlflow.tracking_uri, environment.mlflow.artifact_root
    return {
        "project": ProjectResource(root=str(project.root), environment=project.environment_name),
        "mlflow": MlflowResource(
            tracking_uri=_named(uri) if uri is not None else project.tracking_uri,
            artifact_root=_named(artifacts)
            if artifacts is not None
            else ("" if uri is not None else project.artifact_root),
        ),
        "store": StoreResource(
            root=_named(environment.store.root or str(home / "store")),
            cache=str(home / "cache"),
            engine=_named(environment.store.engine or ""),
        ),
        "target": TargetResource(
            home=str(project.serving_home), settings=environment.target.model_dump(mode="json")
        ),
        "alerts": AlertsResource(urls=[_named(url) for url in environment.alerts.urls]),
    }


def _named(value: Text) -> Any:
    return dg.EnvVar(value.env) if isinstance(value, FromEnv) else value
