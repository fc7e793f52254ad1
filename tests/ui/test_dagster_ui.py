"""The Dagster UI, as people use it: every asset is materialized by a click in a real browser."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.ui.conftest import Served
from tests.ui.desk import MODEL, Desk

pytestmark = pytest.mark.timeout(600)

ASSETS = (
    "retraining_request",
    "training_data",
    "model",
    "model_version",
    "evaluation",
    "security_report",
    "image",
    "deployment",
    "prediction_log",
    "predictions",
    "labels",
    "drift_report",
    "performance",
    "service_health",
)


def test_the_graph_of_the_group_shows_every_asset(desk: Desk) -> None:
    page = desk.open(f"/locations/mlops_pipelines/asset-groups/{MODEL}/lineage")

    for asset in ASSETS:
        expect(page.get_by_text(asset, exact=True).first).to_be_visible()


def test_the_schedule_and_the_sensors_run_from_the_start(desk: Desk) -> None:
    for name in (f"{MODEL}_nightly", "roll_back_degraded_models", "scale_services", "send_alerts"):
        expect(desk.switch(name)).to_be_checked()


def test_a_click_trains_and_the_version_is_a_partition(desk: Desk, trained: int) -> None:
    page = desk.asset("evaluation", "partitions")

    expect(page.get_by_text("1 Partitions Selected")).to_be_visible()
    page.get_by_text(str(trained), exact=True).first.click()
    expect(page).to_have_url(re.compile(f"partition={trained}"))


def test_the_sensor_releases_the_version_by_itself(released: Served) -> None:
    assert httpx.get(f"{released.address}/health/ready", timeout=30).status_code == 200
    assert answering(released.address) == released.version


def test_a_day_is_evaluated_by_a_click(desk: Desk, watched: str) -> None:
    for asset in ("predictions", "labels", "drift_report", "performance", "service_health"):
        expect(desk.asset(asset).get_by_text(watched, exact=True).first).to_be_visible()


def test_the_drift_report_is_one_click_away(desk: Desk, watched: str) -> None:
    page = desk.asset("drift_report")

    page.get_by_role("link", name="the report").click()

    report = page.frame_locator("iframe#html")
    expect(report.get_by_role("heading", level=1)).to_contain_text(f"{MODEL}, {watched}")
    expect(report.get_by_text("Each column, the farthest first")).to_be_visible()


def test_a_version_is_released_by_hand(released_by_hand: Served) -> None:
    assert answering(released_by_hand.address) == released_by_hand.version


def test_materializing_an_older_deployment_is_a_rollback(rolled_back: Served) -> None:
    assert answering(rolled_back.address) == rolled_back.version


def test_a_broken_declaration_is_one_asset_that_shows_its_mistake(desk: Desk) -> None:
    (desk.root / "assets" / "churn").mkdir()
    text = (desk.root / "assets" / MODEL / "defs.yaml").read_text()
    broken = text.replace(f"name: {MODEL}", "name: churn").replace("at_least: 0.95", "at_least: x")
    (desk.root / "assets" / "churn" / "defs.yaml").write_text(broken)

    page = desk.open("/asset-groups")
    page.get_by_role("button", name="Reload definitions").click()

    expect(page.get_by_role("button", name="churn")).to_be_visible(timeout=120_000)
    page = desk.open("/assets/churn/declaration?view=overview")
    expect(page.get_by_text("assets/churn/defs.yaml is not loaded as it is")).to_be_visible()
    expect(page.get_by_text(re.compile(r"defs\.yaml:\d+:\d+ gates"))).to_be_visible()
    expect(desk.asset("model").get_by_role("button", name="Materialize").first).to_be_enabled()


def answering(address: str) -> int:
    """The version that answers a row."""
    from sklearn.datasets import load_breast_cancer

    rows = load_breast_cancer(as_frame=True).data.head(1)
    body = {"dataframe_split": rows.to_dict(orient="split", index=False)}
    answer = httpx.post(f"{address}/invocations", json=body, timeout=60)
    answer.raise_for_status()
    return int(answer.headers["X-Model-Version"])
