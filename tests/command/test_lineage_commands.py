"""`mlops lineage`, `diff`, `history` and `find`, as a person sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from benchmarks.lineage_books import fill_dagster, fill_mlflow, fill_store
from mlops_pipelines.command.explain import diff, find, history, lineage
from mlops_pipelines.command.shared import Group

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "record.schema.json"
BUNDLE = "b00000000003".ljust(64, "0")
mlops = Group("mlops", commands=[lineage, diff, history, find])


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose breast_cancer has three versions and nine nights."""
    home = tmp_path_factory.mktemp("books")
    fill_mlflow(home, "breast_cancer", 3, 9)
    fill_dagster(home, "breast_cancer", 3)
    fill_store(home, "breast_cancer", 3)
    return home


@pytest.fixture
def run(project: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLOPS_HOME", str(books))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(mlops, arguments)

    return invoke


def error(done: Result) -> str:
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()


@pytest.mark.parametrize("command", [lineage, diff, history, find])
def test_each_has_help_with_an_example_and_json(command: Any) -> None:
    said = CliRunner().invoke(mlops, [command.name, "--help"]).stdout
    assert f"Example: mlops {command.name} " in said
    assert "--json" in said


def test_lineage_is_of_the_version_that_serves(run: Any) -> None:
    done = run("lineage", "breast_cancer")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("breast_cancer version 3 (champion), registered 2020-01-04")
    assert "  parent       version 2" in lines


def test_lineage_as_json_is_as_the_schema_says(run: Any) -> None:
    said = json.loads(run("lineage", "breast_cancer", "2", "--json").stdout)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(said)
    assert (said["schema"], said["version"], said["nights"]["count"]) == (1, 2, 3)
    assert [each["what"] for each in said["moves"]] == ["deployed", "replaced"]


def test_lineage_as_a_page(run: Any, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "record.html"
    assert run("lineage", "breast_cancer", "1", "--page", str(page)).exit_code == 0
    assert "<h1>breast_cancer version 1</h1>" in page.read_text("utf-8")
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "record.html cannot be written" in error(
        run("lineage", "breast_cancer", "1", "--page", str(blocked / "record.html"))
    )


NEEDLESS = {"dagster", "mlflow", "numpy", "pandas", "pyarrow", "rich", "sklearn"}
"""Each costs as much to import as all that lineage does."""


@pytest.mark.parametrize("arguments", [["lineage", "breast_cancer"], ["history", "breast_cancer"]])
def test_a_question_waits_for_nothing_that_it_does_not_need(
    project: Path, books: Path, arguments: list[str]
) -> None:
    script = (
        "import sys\nfrom mlops_pipelines.cli import main\n"
        f"main({arguments}, standalone_mode=False)\n"
        f"print(sorted({NEEDLESS} & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project,
        env={**os.environ, "MLOPS_HOME": str(books)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "breast_cancer" in done.stdout or "registered" in done.stdout


def test_lineage_of_what_is_not_there(run: Any) -> None:
    assert error(run("lineage", "breast_cancer", "7")).startswith("breast_cancer has no version 7")
    assert error(run("lineage", "diabetes")).startswith("diabetes has no version yet")
    assert error(run("lineage", "nobody")).startswith("no model 'nobody' is declared")


def test_history_has_a_line_for_each_version(run: Any) -> None:
    lines = run("history", "breast_cancer").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "1", "2", "3"]
    said = json.loads(run("history", "breast_cancer", "--json").stdout)
    assert (said["model"], said["metric"]) == ("breast_cancer", "accuracy")
    assert [(each["version"], each["nights"]) for each in said["versions"]] == [
        (1, 5),
        (2, 3),
        (3, 1),
    ]
    assert error(run("history", "diabetes")).startswith("diabetes has no version yet")


def test_find_names_model_version_and_kind(run: Any) -> None:
    assert run("find", BUNDLE[:12]).stdout == f"breast_cancer version 3: bundle {BUNDLE}\n"
    (said,) = json.loads(run("find", BUNDLE, "--json").stdout)
    assert said == {
        "kind": "bundle",
        "value": BUNDLE,
        "model": "breast_cancer",
        "version": 3,
        "says": "",
    }
    assert error(run("find", "nothing")).startswith("nothing is called 'nothing'")


def test_diff_says_what_it_cannot_compare(run: Any) -> None:
    done = run("diff", "breast_cancer", "2", "3", "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["parameters"][0] == {"name": "p0", "before": "2", "after": "3"}
    assert said["predictions"] is None
    assert {"drift", "packages", "predictions"} <= set(said["missing"])
    text = run("diff", "breast_cancer", "2", "3").stdout
    assert text.splitlines()[0] == "breast_cancer: version 2 → version 3"
    assert "no version 9" in error(run("diff", "breast_cancer", "2", "9"))
