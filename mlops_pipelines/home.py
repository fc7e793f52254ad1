"""Prepares the home folder of a project (MLOPS_HOME), and opens Dagster's instance in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlops_pipelines.environment import resolve
from mlops_pipelines.errors import StoreError
from mlops_pipelines.project import Project
from mlops_pipelines.store import write_atomically

if TYPE_CHECKING:
    from dagster import DagsterInstance


def prepare_home(project: Project) -> Path:
    """Write Dagster's configuration into the home folder; returns Dagster's own home.

    Sets DAGSTER_HOME for this process and those it starts. Raises StoreError where it cannot write.
    """
    folder = project.home / "dagster"
    template = project.root / "dagster.yaml"
    settings: dict[str, Any] = yaml.safe_load(template.read_text()) if template.exists() else {}
    settings["storage"] = _storage(project, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path, text = folder / "dagster.yaml", yaml.safe_dump(settings, sort_keys=False).encode()
        if not path.exists() or path.read_bytes() != text:
            write_atomically(path, text)
    except OSError as error:
        raise StoreError(
            f"home folder {project.home} cannot be written: {error.strerror or error}; "
            "make it writable, or name another with MLOPS_HOME"
        ) from error
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ["MLOPS_HOME"] = str(project.home)
    os.environ["MLOPS_PROJECT"] = str(project.root)
    return folder


@contextmanager
def dagster_instance(project: Project) -> Iterator[DagsterInstance]:
    """Dagster's instance of this project: its runs, events and partitions."""
    from dagster import DagsterInstance

    folder = prepare_home(project)
    with DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def _storage(project: Project, folder: Path) -> dict[str, Any]:
    postgres = project.environment.dagster.postgres_url
    if postgres is None:
        return {"sqlite": {"base_dir": str(folder)}}
    resolve(postgres)
    url = postgres if isinstance(postgres, str) else {"env": postgres.env}
    return {"postgres": {"postgres_url": url}}
