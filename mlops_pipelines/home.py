"""Prepares the home folder of a project (MLOPS_HOME), and opens Dagster's instance in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlops_pipelines.environment import resolve, shown_uri, with_driver
from mlops_pipelines.errors import MlopsError, StoreError
from mlops_pipelines.project import Project
from mlops_pipelines.store import write_atomically

if TYPE_CHECKING:
    from dagster import DagsterInstance

CONNECT_SECONDS = 5


def prepare_home(project: Project) -> Path:
    """Write Dagster's configuration into the home folder; returns Dagster's own home.

    Sets DAGSTER_HOME for this process and those it starts. Raises StoreError where it cannot write,
    MlopsError where Dagster's database does not answer.
    """
    folder = project.home / "dagster"
    template = project.root / "dagster.yaml"
    settings: dict[str, Any] = yaml.safe_load(template.read_text()) if template.exists() else {}
    # Nothing phones home, in a project without a dagster.yaml of its own too.
    settings.setdefault("telemetry", {"enabled": False})
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
    address = resolve(postgres)
    _probe(address, f"resources/{project.environment_name}.yaml")
    url = with_driver(address)
    if isinstance(postgres, str):
        return {"postgres": {"postgres_url": url}}
    # Dagster reads the variable itself, here and in the processes that are started from here.
    os.environ[postgres.env] = url
    return {"postgres": {"postgres_url": {"env": postgres.env}}}


def _probe(url: str, file: str) -> None:
    """Dagster itself would try again for a while, and then show a page of stack."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        parsed = make_url(with_driver(url))
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() != "postgresql":
        raise MlopsError(
            f"dagster.postgres_url in {file} is no address of a PostgreSQL database; expected "
            "postgresql://user:password@host:port/database"
        )
    engine = create_engine(parsed, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with engine.connect():
            pass
    except SQLAlchemyError as error:
        reason = next(iter(str(getattr(error, "orig", None) or error).strip().splitlines()), "")
        hidden = reason.replace(str(parsed.password), "***") if parsed.password else reason
        raise MlopsError(
            f"Dagster's database {shown_uri(url)} does not answer: {hidden}; start it, or mend "
            f"dagster.postgres_url in {file}"
        ) from None
    finally:
        engine.dispose()
