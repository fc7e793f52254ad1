"""Addresses of Dagster's database that lead nowhere: one line, no password, nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlops_pipelines.errors import MlopsError
from mlops_pipelines.home import prepare_home
from mlops_pipelines.project import Project
from mlops_pipelines.workbench import Workbench
from tests.production.services import free_port


@pytest.fixture
def project(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLOPS_ENV", "production")
    return Project.find()


@pytest.mark.parametrize(
    "address",
    [
        "mysql://me:hunter2@127.0.0.1/books",
        "sqlite:///books.db?password=hunter2",
        "postgresql://me:hunter2@127.0.0.1:54x2/books",
        "hunter2",
    ],
)
def test_what_is_no_postgresql_is_refused(
    address: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", address)

    with pytest.raises(MlopsError) as caught:
        prepare_home(project)

    assert str(caught.value) == (
        "dagster.postgres_url in resources/production.yaml is no address of a PostgreSQL "
        "database; expected postgresql://user:password@host:port/database"
    )
    assert not project.home.exists()


def test_a_database_that_is_down_is_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", f"postgresql://me:hunter2@127.0.0.1:{port}/books")

    with pytest.raises(MlopsError) as caught:
        prepare_home(project)

    assert re.fullmatch(
        rf"Dagster's database postgresql://127\.0\.0\.1:{port}/books does not answer: "
        r".*Connection refused; start it, or mend dagster\.postgres_url in "
        r"resources/production\.yaml",
        str(caught.value),
    )


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "MLOPS_STORE"])
def test_a_variable_that_is_not_set_is_named_before_a_run_begins(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLOPS_STORE", "s3://bucket/prefix")
    monkeypatch.delenv(name)

    with pytest.raises(MlopsError, match=f"^environment variable {name} is not set"):
        _ = Workbench(project).defs
