"""What a command needs: the project, its books, its target and its jobs, opened on first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mlops_pipelines.environment import resolve
from mlops_pipelines.home import dagster_instance
from mlops_pipelines.project import Project

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions

    from mlops_pipelines.release.targets.target import Target
    from mlops_pipelines.train.registry import Registry


@dataclass(frozen=True)
class Workbench:
    """The rooms of one project, opened."""

    project: Project

    @cached_property
    def registry(self) -> Registry:
        """MLflow."""
        from mlops_pipelines.train.registry import Registry

        return Registry(self.project.tracking_uri, self.project.artifact_root)

    @cached_property
    def target(self) -> Target:
        """Where bundles run."""
        from mlops_pipelines.release.targets.opening import open_target

        releases = {each.spec.name: each.spec.release for each in self.project.models.values()}
        return open_target(self.project.environment.target, self.project.serving_home, releases)

    @cached_property
    def defs(self) -> Definitions:
        """The code location that the UI loads; raises MlopsError where a variable is not set."""
        from mlops_pipelines.definitions import build_definitions

        environment = self.project.environment
        where = environment.mlflow
        # Dagster's own answer to a variable that is not set is a page of stack.
        for setting in (where.tracking_uri, where.artifact_root, environment.store.root):
            resolve(setting)
        return build_definitions(self.project)

    @contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        """Dagster's instance."""
        with dagster_instance(self.project) as instance:
            yield instance
