"""The MLflow UI on the same state: versions and nights, compared; what was logged opens."""

from __future__ import annotations

import json
from urllib.parse import quote

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Served
from tests.ui.desk import MODEL, Desk

pytestmark = pytest.mark.timeout(600)


def test_the_experiment_lists_trainings_and_nights(
    desk: Desk, watched: str, rolled_back: Served
) -> None:
    page = opened(desk, f"experiments/{experiment(desk)}/runs")

    for name in ("version 1", "version 2", f"night {watched}, version 1"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_a_night_is_compared_with_the_training(desk: Desk, watched: str) -> None:
    runs = run_ids(desk)
    compared = [runs["version 1"], runs[f"night {watched}, version 1"]]

    page = opened(
        desk,
        f"compare-runs?runs={quote(json.dumps(compared))}"
        f"&experiments={quote(json.dumps([experiment(desk)]))}",
    )

    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    named = page.get_by_role("grid").filter(has=page.get_by_role("link", name="accuracy"))
    # The names are one grid, and the numbers another beside it.
    numbers = named.locator("xpath=../..")
    for run in compared:
        expect(numbers).to_contain_text(f"{round(accuracy(desk, run), 3):g}")


def test_the_model_page_shows_versions_and_who_serves(desk: Desk, rolled_back: Served) -> None:
    page = opened(desk, f"models/{MODEL}")

    expect(page.get_by_text("Version 2").first).to_be_visible()
    serving = page.get_by_role("row").filter(has_text=f"Version {rolled_back.version}")
    expect(serving.first).to_contain_text("@ champion")


def test_pictures_of_a_training_open(desk: Desk, trained: int) -> None:
    run = run_ids(desk)[f"version {trained}"]

    page = opened(desk, f"experiments/{experiment(desk)}/runs/{run}/artifacts/pictures")
    page.get_by_text("roc_curve.png").first.click()

    picture = page.locator('img[src^="blob:"], img[src*="get-artifact"]').first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 300


def test_the_drift_report_of_a_night_opens(desk: Desk, watched: str) -> None:
    run = run_ids(desk)[f"night {watched}, version 1"]
    where = f"experiments/{experiment(desk)}/runs/{run}/artifacts/reports"

    page = opened(desk, f"{where}/drift_report_v1.html")

    report = page.frame_locator("iframe#html")
    expect(report.get_by_role("heading", level=1)).to_contain_text(f"{MODEL}, {watched}")


def test_ctrl_c_stops_both_and_leaves_no_process(desk: Desk, rolled_back: Served) -> None:
    assert desk.stop() == 0
    desk.mlops("stop", MODEL)

    assert [process.cmdline() for process in processes_of(desk)] == []


def opened(desk: Desk, page: str) -> Page:
    desk.page.goto(f"{desk.mlflow}/#/{page}")
    return desk.page


def experiment(desk: Desk) -> str:
    found = desk.mlflow_api("experiments/search", filter=f"name = '{MODEL}'", max_results=1)
    return str(found["experiments"][0]["experiment_id"])


def run_ids(desk: Desk) -> dict[str, str]:
    found = desk.mlflow_api("runs/search", experiment_ids=[experiment(desk)])
    return {run["info"]["run_name"]: run["info"]["run_id"] for run in found["runs"]}


def accuracy(desk: Desk, run: str) -> float:
    answer = httpx.get(f"{desk.mlflow}/api/2.0/mlflow/runs/get?run_id={run}", timeout=30)
    metrics = answer.json()["run"]["data"]["metrics"]
    return float(next(each["value"] for each in metrics if each["key"] == "accuracy"))


def processes_of(desk: Desk) -> list[psutil.Process]:
    """What still runs with this project's home folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MLOPS_HOME") == desk.environment["MLOPS_HOME"]:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
