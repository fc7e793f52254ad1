"""`mlops errors`, as a person sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlops_pipelines.cli import main

HEADER = {"schema": 1, "kind": "errors", "model": "diabetes", "model_version": 3}
HEADER |= {"bundle": "b" * 64, "instance": "host-1", "columns": ["age", "site"]}
AT = "2026-03-01T12:00:00.000001Z"


def error(name: str, number: int, features: Any) -> list[Any]:
    frames = ["sklearn/pipeline.py:10 predict", "assets/shop/model.py:3 transform"]
    return [name, "r-1", "t-1", 0, 5, AT, "ValueError", "d" * 16, number, frames, features]


@pytest.fixture
def log(project: Path) -> Path:
    """The log of a model that failed twice, and then so often that only the count was kept."""
    folder = project.parent / "home" / "serving" / "diabetes" / "log"
    folder.mkdir(parents=True)
    rows = [error("e-1", 1, [67.25, "north"]), error("e-2", 2, [None, "south"])]
    rows.append(error("e-3", 40, None))
    path = folder / "errors-diabetes-v3-1-1.ndjson"
    path.write_text("".join(json.dumps(each) + "\n" for each in [HEADER, *rows]))
    return folder


def mlops(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["errors", *arguments])


def test_the_kinds_of_failures(log: Path) -> None:
    done = mlops("diabetes", "--version", "3", "--kind", "ValueError", "--since", "2026-03-01")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.split("\n") == [
        "kind        digest            count  first                last                 "
        "versions  example",
        "ValueError  dddddddddddddddd  40+    2026-03-01T12:00:00  2026-03-01T12:00:00  "
        "3         e-2",
        "next: mlops errors diabetes e-2",
        "",
    ]
    (told,) = json.loads(mlops("diabetes", "--json").stdout)
    assert (told["count"], told["at_least"], told["versions"]) == (40, True, [3])


def test_one_failure_shows_types_and_no_values(log: Path) -> None:
    done = mlops("diabetes", "e-1")
    assert done.stdout.splitlines() == [
        f"ValueError {'d' * 16}, version 3, {AT}",
        "  request   r-1, trace t-1",
        "  rows      1 of 5 kept",
        "  frame     sklearn/pipeline.py:10 predict",
        "  frame     assets/shop/model.py:3 transform",
        "  feature   age: double",
        "  feature   site: string",
    ]
    told = json.loads(mlops("diabetes", "e-1", "--json").stdout)
    assert told["types"] == {"age": "double", "site": "string"}
    assert "67.25" not in json.dumps(told) and "north" not in json.dumps(told)


def test_values_are_shown_when_asked_for(log: Path) -> None:
    assert mlops("diabetes", "e-1", "--values").stdout.splitlines()[-1] == (
        "  row 0: age=67.25, site='north'"
    )
    told = json.loads(mlops("diabetes", "e-2", "--values", "--json").stdout)
    assert told["rows"] == [[None, "south"]]


def test_a_model_that_never_failed(log: Path) -> None:
    done = mlops("breast_cancer")
    assert (done.exit_code, done.stdout) == (0, "breast_cancer: no such failure is kept\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nobody"], 1, "error: no model 'nobody' is declared under assets/; there are: "),
        (["diabetes", "e-9"], 1, "error: diabetes keeps no error e-9; "),
        (["diabetes", "e-3", "--replay"], 1, "error: diabetes: of error e-3 only the count"),
        (["diabetes", "e-1", "--kind", "ValueError"], 2, "choose among all errors"),
        (["diabetes", "--values"], 2, "name its ERROR_ID"),
        (["diabetes", "--replay"], 2, "name its ERROR_ID"),
        (["diabetes", "e-1", "--in-version", "2"], 2, "--in-version says where to --replay"),
        (["diabetes", "--since", "yesterday"], 2, "'yesterday' does not match the format"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    log: Path, arguments: list[str], code: int, message: str
) -> None:
    done = mlops(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr.splitlines()[-1]
