"""The example with a time axis: ordinary days, labels that arrive late, a drift on a known day."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_pipelines.demo.daemon import Daemon
from mlops_pipelines.importing import load_attribute
from mlops_pipelines.project import Project
from mlops_pipelines.workbench import Workbench
from tests.conftest import ROOT
from tests.loop.callers import ask, label
from tests.loop.conftest import Mlops

pytestmark = pytest.mark.timeout(240)

MODEL = "card_fraud"
ORDINARY = date(2026, 7, 9)


@pytest.fixture
def model_root(project_root: Path) -> Path:
    """A project with this model alone."""
    shutil.copytree(
        ROOT / "assets" / MODEL,
        project_root / "assets" / MODEL,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return project_root


def test_late_labels_and_a_drift_on_a_known_day(mlops: Mlops, model_root: Path) -> None:
    folder = model_root / "assets" / MODEL
    day = load_attribute("generate:day", model_root, folder)
    drift_day = load_attribute("generate:DRIFT_DAY", model_root, folder)
    mlops("train", MODEL)
    address = mlops("release", MODEL)["address"]

    def send(when: date) -> tuple[list[str], pd.DataFrame]:
        rows = day(when)
        hours = rows["event_time"].dt.floor("h")
        return ask(address, rows.drop(columns=["fraud", "event_time"]), hours), rows

    def night(when: date) -> dict[str, str]:
        checks = mlops("monitor", MODEL, "--day", when.isoformat())["checks"]
        return {each["check"]: each["status"] for each in checks}

    # Thursday, before its labels and after them; a busy Saturday is no drift either.
    ids, rows = send(ORDINARY)
    found = night(ORDINARY)
    assert found == {
        "expectations": "ok",
        "no_drift": "ok",
        "no_degradation": "insufficient_data",
        "healthy": "ok",
    }
    label(address, ids, rows["fraud"])
    assert night(ORDINARY) == {**found, "no_degradation": "ok"}
    saturday = ORDINARY + timedelta(days=2)
    send(saturday)
    assert night(saturday) == found

    bench = Workbench(Project.find())
    with bench.instance() as instance:
        daemon = Daemon(bench.defs, instance, MODEL)
        assert daemon.tick("roll_back_degraded_models") == []
        assert requests(bench) == []

        send(drift_day)
        assert night(drift_day)["no_drift"] == "alarm"
        assert daemon.tick("roll_back_degraded_models") == []
    (reason,) = requests(bench)
    assert reason.startswith(f"{MODEL} version 1, {drift_day}: ")
    assert "channel" in reason
    assert mlops("status", MODEL)[0]["serving"] == 1


def requests(bench: Workbench) -> list[Any]:
    """Why retrainings were asked for."""
    import dagster as dg

    with bench.instance() as instance:
        found = instance.fetch_materializations(
            dg.AssetKey([MODEL, "retraining_request"]), limit=10
        ).records
    return [each.asset_materialization.metadata["reason"].value for each in found]
