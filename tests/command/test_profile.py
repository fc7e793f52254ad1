"""`mlops profile`, as a person sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from benchmarks.lineage_books import fill_mlflow
from mlops_pipelines.command.profile import profile
from mlops_pipelines.command.shared import Group
from mlops_pipelines.measure.profile import Column, Profile, reference_profile
from mlops_pipelines.measure.window import WindowProfile, from_json, to_json, window_like
from mlops_pipelines.monitor import tables
from mlops_pipelines.monitor.predictions import day_key
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "profile.schema.json"
mlops = Group("mlops", commands=[profile])
COLUMNS = [Column("x", "numeric"), Column("site", "categorical")]


def rows(n: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(shift, size=n), "site": rng.choice(["a", "b"], size=n)})


REFERENCE = reference_profile(rows(4000, 0), COLUMNS)


def window(frame: pd.DataFrame, day: int = 1, model: str = "churn", version: int = 3) -> Any:
    start, end = f"2026-03-{day:02}", f"2026-03-{day + 1:02}"
    return window_like(frame, REFERENCE, model, version, start, end, {"site": ("a", "b")})


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("reference.json").write_text(REFERENCE.to_json())

    def put(name: str, *found: WindowProfile) -> None:
        Path(name).write_text(to_json(found))

    put("clinic.json", window(rows(900, 1)), window(rows(800, 2), 2))
    put("hospital.json", window(rows(700, 3)))
    put("moved.json", window(rows(2000, 4, shift=1), 2))
    put("other.json", window(rows(10, 5), model="fraud"))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(mlops, ["profile", *arguments])


def error(done: Result) -> str:
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()


@pytest.mark.parametrize("command", ["show", "export", "merge", "verdict"])
def test_each_has_help_with_an_example_and_json(command: str) -> None:
    said = run(command, "--help").stdout
    assert f"Example: mlops profile {command} " in said
    assert "--json" in said


def test_sites_are_merged_day_by_day(files: Path) -> None:
    done = run("merge", "clinic.json", "hospital.json", "--output", "all.json")
    assert (done.exit_code, done.stdout) == (
        0,
        "churn, 2026-03-01 to 2026-03-03: 2400 rows in 2 windows: all.json\n",
    )
    found = from_json(Path("all.json").read_text())
    assert [(w.start, w.whole.n) for w in found] == [("2026-03-01", 1600), ("2026-03-02", 800)]
    both = window(pd.concat([rows(900, 1), rows(700, 3)]))
    assert found[0].whole.columns[0].counts == both.whole.columns[0].counts
    assert {v: p.n for v, p in found[0].segments["site"].items()} == {
        v: p.n for v, p in both.segments["site"].items()
    }
    jsonschema.validate(json.loads(Path("all.json").read_text()), json.loads(SCHEMA.read_text()))
    again = run("merge", "hospital.json", "clinic.json", "--output", "other way.json", "--json")
    assert json.loads(again.stdout)["rows"] == 2400
    assert from_json(Path("other way.json").read_text()) == found


def test_what_cannot_be_merged_is_one_line(files: Path) -> None:
    def failed(*names: str) -> str:
        return error(run("merge", *names, "--output", "out.json"))

    assert failed("clinic.json", "other.json") == (
        "other.json: is of fraud, clinic.json is of churn"
    )
    assert failed("clinic.json", "clinic.json") == (
        "clinic.json: holds the same as clinic.json; each is to be counted once"
    )
    assert failed("gone.json") == "gone.json: there is no such file"
    assert failed("reference.json").startswith("reference.json: profile: schema 1; windows are")
    strange = reference_profile(rows(4000, 9), COLUMNS)
    odd = window_like(rows(10, 1), strange, "churn", 3, "2026-03-01", "2026-03-02")
    Path("odd.json").write_text(odd.to_json())
    assert failed("clinic.json", "odd.json") == (
        "odd.json and clinic.json, version 3: column x: the profiles have different bins; "
        "make both with profile_like and the same reference"
    )
    assert not Path("out.json").exists()


def test_the_verdict_is_on_all_rows_of_a_file(files: Path) -> None:
    calm = run("verdict", "clinic.json", "--reference", "reference.json")
    assert calm.exit_code == 0, calm.stderr
    assert calm.stdout.startswith(
        "churn version 3, 2026-03-01 to 2026-03-03, 1700 rows: ok: none of 2 columns drifted"
    )
    run("merge", "clinic.json", "moved.json", "--output", "all.json")
    told = run("verdict", "all.json", "--reference", "reference.json", "--json")
    said = json.loads(told.stdout)
    assert (told.exit_code, said["status"], said["rows"]) == (1, "alarm", 3700)
    assert [each["column"] for each in said["columns"] if each["drifted"]] == ["x"]
    against = run("verdict", "moved.json", "--reference", "clinic.json")
    assert against.exit_code == 1 and "alarm" in against.stdout


@pytest.fixture
def project_with_a_day(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = project.parent / "home"
    fill_mlflow(home, "breast_cancer", 1, 0)
    monkeypatch.chdir(project)
    from mlops_pipelines.project import Project

    found = Project.find()
    registry = Registry(found.tracking_uri, found.artifact_root)
    registry.keep_json("breast_cancer", 1, "profile.json", json.loads(REFERENCE.to_json()))
    registry.set_alias("breast_cancer", "champion", 1)
    store: Store = found.store
    for seed, day in enumerate(("2026-03-01", "2026-03-02")):
        table = pa.Table.from_pandas(rows(300, 7 + seed).assign(model_version=1))
        tables.write_table(store, day_key("breast_cancer", day), table)
    return project


def test_a_day_is_shown_exported_and_judged(project_with_a_day: Path) -> None:
    shown = run("show", "breast_cancer", "2026-03-01")
    assert shown.exit_code == 0, shown.stderr
    head, number, level = shown.stdout.splitlines()
    assert head == "breast_cancer version 1, 2026-03-01: 300 rows"
    assert number.startswith("  x     mean ") and number.endswith("0.0% missing")
    assert level.startswith(("  site  'a' ", "  site  'b' "))
    value = json.loads(run("show", "breast_cancer", "2026-03-01", "--json").stdout)
    jsonschema.validate(value, json.loads(SCHEMA.read_text()))

    span = ("--from", "2026-02-27", "--to", "2026-03-02")
    done = run("export", "breast_cancer", *span, "--output", "site.json")
    assert done.stdout == (
        "breast_cancer, 2026-03-01 to 2026-03-03: 600 rows in 2 windows: site.json\n"
    )
    for named in ("breast_cancer", "breast_cancer:1"):
        judged = run("verdict", "site.json", "--reference", named)
        assert judged.exit_code == 0, judged.output
    assert error(run("show", "breast_cancer", "2026-01-01")) == (
        "breast_cancer answered no row on 2026-01-01"
    )
    assert "expected MODEL:VERSION" in error(
        run("verdict", "site.json", "--reference", "breast_cancer:x")
    )
    assert Profile.from_json(REFERENCE.to_json()) == REFERENCE


def test_a_version_s_own_days_and_declaration_judge_a_file(project_with_a_day: Path) -> None:
    """Days that differ by nature are an alarm beside a bare profile, and none beside those days."""
    from mlops_pipelines.measure.null import Reference
    from mlops_pipelines.train.reference import REFERENCE as NAME

    # MLflow remembers where a run's files lie, and the runs of these projects have one id.
    kept = project_with_a_day.parent / f"home/artifacts/breast_cancer/{1:032}/artifacts"
    kept.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)

    def day(number: int) -> pd.DataFrame:
        return rows(600, number, shift=0.6 * rng.normal())

    learned = pd.concat([day(number) for number in range(60)], ignore_index=True)
    times = pd.Series(pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(36_000) // 600, "D"))
    bins = reference_profile(learned, COLUMNS)
    (kept / "profile.json").write_text(bins.to_json())
    Path("bare.json").write_text(bins.to_json())
    one = window_like(
        rows(600, 99, shift=0.9), bins, "breast_cancer", 1, "2026-03-01", "2026-03-02", {}
    )
    Path("day.json").write_text(to_json([one]))
    for named in ("bare.json", "breast_cancer"):
        assert ": alarm: " in run("verdict", "day.json", "--reference", named).stdout
    (kept / NAME).write_bytes(Reference.of(learned, bins, times).to_bytes())
    judged = run("verdict", "day.json", "--reference", "breast_cancer")
    assert (judged.exit_code, "ok: none of 2" in judged.stdout) == (0, True), judged.output
