from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_pipelines.errors import DataError
from mlops_pipelines.importing import bind_assets, bind_folder, load_attribute


@pytest.fixture(autouse=True)
def _own_assets() -> Iterator[None]:
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "assets"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "assets"]:
        del sys.modules[name]
    sys.modules.update(before)


def folder_of(root: Path, model: str, **files: str) -> Path:
    folder = root / "assets" / model
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_an_attribute_of_an_installed_module(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "churn")

    assert load_attribute("os.path:join", tmp_path, folder) is __import__("os").path.join


def test_a_file_beside_the_declaration_comes_first(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "risk/churn", json="def dumps():\n    return 'mine'\n")

    found = load_attribute("json:dumps", tmp_path, folder)

    assert found() == "mine"
    assert found.__module__ == "assets.risk.churn.json"


def test_two_models_have_files_of_the_same_name(tmp_path: Path) -> None:
    one = folder_of(tmp_path, "one", pipeline="NAME = 'one'\n")
    two = folder_of(tmp_path, "two", pipeline="NAME = 'two'\n")

    assert load_attribute("pipeline:NAME", tmp_path, one) == "one"
    assert load_attribute("pipeline:NAME", tmp_path, two) == "two"


def test_a_file_imports_its_neighbour(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        "churn",
        pipeline="from assets.churn.parts import NAME\n",
        parts="NAME = 'part'\n",
    )

    assert load_attribute("pipeline:NAME", tmp_path, folder) == "part"


def test_two_projects_do_not_see_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = folder_of(tmp_path / name, "churn", pipeline=f"NAME = {name!r}\n")
        assert load_attribute("pipeline:NAME", tmp_path / name, folder) == name
        assert bind_assets(tmp_path / name) is bind_assets(tmp_path / name)


def test_a_folder_of_any_name_is_a_module(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "team 1.2/churn")

    assert bind_folder(tmp_path, tmp_path / "assets") is sys.modules["assets"]
    assert list(bind_folder(tmp_path, folder).__path__) == [str(folder)]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "nothing_of_that_name:x",
            "module 'nothing_of_that_name' cannot be imported; it is neither installed nor a file "
            "in churn/",
        ),
        (
            "os.nope:x",
            "module 'os.nope' cannot be imported; it is neither installed nor a file in churn/",
        ),
        ("os.path:nope", "module 'os.path' has no 'nope'"),
        (
            "wrong:x",
            "assets/churn/wrong.py:2 fails when it is imported: ZeroDivisionError: "
            "division by zero",
        ),
        (
            "syntax:x",
            "assets/churn/syntax.py:1 fails when it is imported: SyntaxError: '(' was never closed",
        ),
        (
            "needs:x",
            "assets/churn/needs.py:1 fails when it is imported: ModuleNotFoundError: "
            "No module named 'not_there'",
        ),
    ],
)
def test_what_cannot_be_imported_is_one_line(path: str, message: str, tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path, "churn", wrong="x = 1\ny = 1 / 0\n", syntax="x = (\n", needs="import not_there\n"
    )

    with pytest.raises(DataError) as caught:
        load_attribute(path, tmp_path, folder)

    assert str(caught.value) == f"{path}: {message}"
