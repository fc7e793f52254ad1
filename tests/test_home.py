from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
import yaml

from mlops_pipelines.errors import MlopsError, StoreError
from mlops_pipelines.home import dagster_instance, prepare_home
from mlops_pipelines.project import Project


def test_a_home_is_prepared_once_and_for_those_that_are_started(
    project_root: Path, tmp_path: Path
) -> None:
    project = Project.find()

    folder = prepare_home(project)
    before = (folder / "dagster.yaml").stat()
    prepare_home(project)

    assert folder == tmp_path / "home" / "dagster"
    settings = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert settings["storage"] == {"sqlite": {"base_dir": str(folder)}}
    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}
    assert os.environ["DAGSTER_HOME"] == str(folder)
    after = (folder / "dagster.yaml").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_an_instance_keeps_its_events_between_processes(project_root: Path) -> None:
    project = Project.find()

    with dagster_instance(project) as instance:
        instance.add_dynamic_partitions("churn_versions", ["1"])
        assert not instance.telemetry_enabled
    with dagster_instance(project) as instance:
        assert list(instance.get_dynamic_partitions("churn_versions")) == ["1"]


def test_an_unwritable_home_is_one_line(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "file" / "home"))

    with pytest.raises(StoreError) as caught:
        prepare_home(Project.find())

    assert str(caught.value) == (
        f"home folder {tmp_path}/file/home cannot be written: Not a directory; "
        "make it writable, or name another with MLOPS_HOME"
    )


def test_a_database_that_is_not_named_is_one_line(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_ENV", "production")
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)

    with pytest.raises(MlopsError, match="environment variable DAGSTER_POSTGRES_URL is not set"):
        prepare_home(Project.find())


def test_postgresql_keeps_the_events(
    project_root: Path, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_ENV", "staging")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    (project_root / "resources" / "staging.yaml").write_text(
        "dagster: {postgres_url: {env: DAGSTER_POSTGRES_URL}}\n"
    )

    @dg.asset
    def told() -> None: ...

    with dagster_instance(Project.find()) as instance:
        dg.materialize([told], instance=instance)
    with dagster_instance(Project.find()) as instance:
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        assert instance.get_latest_materialization_event(told.key) is not None
        instance.dispose()
    settings = (tmp_path / "home" / "dagster" / "dagster.yaml").read_text()
    assert yaml.safe_load(settings)["storage"] == {
        "postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}
    }
