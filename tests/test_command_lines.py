"""The tools that a user has at hand, as real processes on a project of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
MODEL = """\
type: mlops_pipelines.MonitoredModel

attributes:
  name: {name}
  task: binary_classification
  data:
    source: {{python: "sklearn.datasets:load_breast_cancer"}}
    target: target
  estimator:
    python: "sklearn.linear_model:LogisticRegression"
"""


def run(root: Path, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "300"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def declare(root: Path, name: str, text: str) -> None:
    (root / "assets" / name).mkdir()
    (root / "assets" / name / "defs.yaml").write_text(text)


def test_mlops_check_says_that_all_is_sound(project: Path) -> None:
    done = run(project, "mlops", "check")

    assert (done.stdout, done.stderr) == ("3 models and 5 environments are sound\n", "")


def test_mlops_check_says_every_mistake_of_all_files(project: Path) -> None:
    declare(project, "wrong", MODEL.format(name="wrong") + "  gatse: []\n  task: regression\n")
    declare(project, "worse", MODEL.format(name="Worse"))
    (project / "resources" / "staging.yaml").write_text("stroe: {}\n")

    done = run(project, "mlops", "check", code=1)
    told = json.loads(run(project, "mlops", "check", "--json", code=1).stdout)

    assert done.stdout.splitlines() == [
        "assets/worse/defs.yaml:4:3 name: must be lower-case letters, digits and underscores, "
        "a letter first, not 'Worse'",
        "assets/wrong/defs.yaml:12:3 is not YAML: 'task' is given twice, first in line 5",
        "resources/staging.yaml:1:1 stroe: is not a field; did you mean 'store'? allowed: "
        "mlflow, store, target, alerts, dagster",
    ]
    assert told["models"] == ["breast_cancer", "card_fraud", "diabetes"]
    assert told["environments"] == [
        "compose",
        "docker",
        "kubernetes",
        "local",
        "production",
        "staging",
    ]
    assert [(each["file"], each["line"], each["column"]) for each in told["mistakes"]] == [
        ("assets/worse/defs.yaml", 4, 3),
        ("assets/wrong/defs.yaml", 12, 3),
        ("resources/staging.yaml", 1, 1),
    ]


def test_mlops_new_writes_a_declaration_that_mlops_check_finds_sound(project: Path) -> None:
    rows = "\n".join(f"{n},{n % 7},{'yes' if n % 3 else 'no'}" for n in range(60))
    (project / "churn.csv").write_text(f"id,visits,churned\n{rows}\n")

    done = run(project, "mlops", "new", "churn", "--from", "churn.csv", "--target", "churned")
    again = run(
        project, "mlops", "new", "churn", "--from", "churn.csv", "--target", "churned", code=1
    )

    assert done.stdout.splitlines() == [
        "wrote assets/churn/defs.yaml (binary_classification)",
        "  churned has two values: binary_classification",
        "  id is dropped: it counts the rows",
        "next: mlops train churn",
    ]
    assert again.stderr == (
        "error: assets/churn/defs.yaml exists already; edit it, or choose another name\n"
    )
    assert run(project, "mlops", "check").stdout == "4 models and 5 environments are sound\n"


def test_an_unknown_environment_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ENV", "staging")

    done = run(project, "mlops", "status", code=1)

    assert done.stderr.splitlines() == [
        "error: MLOPS_ENV=staging: there is no resources/staging.yaml; there are: "
        "compose, docker, kubernetes, local, production"
    ]


def test_dg_knows_the_project(project: Path) -> None:
    checked = run(project, "dg", "check", "defs")
    listed = json.loads(run(project, "dg", "list", "defs", "--json").stdout)

    assert "All definitions loaded successfully" in checked.stdout + checked.stderr
    assert {asset["asset_key"] for asset in listed["assets"]} >= {
        f"{model}/{asset}"
        for model in ("breast_cancer", "card_fraud", "diabetes")
        for asset in ("training_data", "model", "deployment", "performance")
    }
    assert {
        asset["source"] for asset in listed["assets"] if asset["asset_key"] == "breast_cancer/model"
    } == {"assets/breast_cancer/defs.yaml:1"}


def test_dg_scaffolds_a_model_that_is_sound_at_once(project_root: Path) -> None:
    run(project_root, "dg", "scaffold", "defs", "mlops_pipelines.MonitoredModel", "churn")

    assert run(project_root, "mlops", "check").stdout == "1 models and 5 environments are sound\n"
    assert (project_root / "assets" / "churn" / "defs.yaml").is_file()
    run(project_root, "dg", "check", "defs")


def test_what_only_validates_refuses_a_broken_model_and_says_where(project: Path) -> None:
    declare(project, "wrong", MODEL.format(name="wrong") + "  gatse: []\n")
    line = "assets/wrong/defs.yaml:11:3 gatse: is not a field; did you mean 'gates'?"

    checked = run(project, "dg", "check", "defs", code=1)
    validated = run(project, "dagster", "definitions", "validate", "-w", "workspace.yaml", code=1)

    assert line in " ".join((checked.stdout + checked.stderr).split())
    assert line in " ".join((validated.stdout + validated.stderr).split())


def test_dagster_validates_the_workspace(project: Path) -> None:
    done = run(project, "dagster", "definitions", "validate", "-w", "workspace.yaml")

    assert "Validation successful" in done.stdout + done.stderr


def test_a_project_without_the_examples_works_from_any_folder(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLOPS_PROJECT")
    declare(project_root, "churn", MODEL.format(name="churn"))
    shutil.rmtree(project_root / "resources")
    (project_root / "resources").mkdir()
    (project_root / "resources" / "local.yaml").write_text("")

    done = run(project_root / "assets" / "churn", "mlops", "check")

    assert done.stdout == "1 models and 1 environments are sound\n"
