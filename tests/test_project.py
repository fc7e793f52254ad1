from __future__ import annotations

from pathlib import Path

import pytest

from mlops_pipelines.errors import MlopsError
from mlops_pipelines.project import Project


def test_a_project_is_found_from_any_folder_in_it(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLOPS_PROJECT")
    inside = project_root / "assets" / "churn"
    inside.mkdir()
    monkeypatch.chdir(inside)

    assert Project.find().root == project_root.resolve()


def test_outside_of_a_project_it_is_the_packages_own(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLOPS_PROJECT")
    monkeypatch.chdir(tmp_path)

    assert (Project.find().root / "mlops_pipelines").is_dir()


def test_a_named_project_must_have_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_PROJECT", str(tmp_path))

    with pytest.raises(MlopsError) as caught:
        Project.find()

    assert str(caught.value) == f"MLOPS_PROJECT={tmp_path}: there is no assets/ folder in it"


def test_home_is_in_the_project_unless_it_is_named(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLOPS_HOME")

    assert Project.find().home == project_root / ".mlops"
