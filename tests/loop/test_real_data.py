"""Real data sets, declared by `mlops new`, through all three tracks and back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.loop.callers import ask, label, refused
from tests.loop.conftest import Mlops

pytestmark = pytest.mark.timeout(240)

NOT_FEATURES = ("casual", "registered", "instant")


def by_check(night: dict[str, object]) -> dict[str, str]:
    """The status of each check of a night."""
    return {each["check"]: each["status"] for each in night["checks"]}


def test_bike_sharing(mlops: Mlops, project_root: Path, real_data: Path) -> None:
    rows = pd.read_parquet(real_data / "bike_sharing.parquet")
    asked = rows.drop(columns=["cnt", "event_time", *NOT_FEATURES])
    declared = mlops(
        *("new", "bike", "--from", str(real_data / "bike_sharing.parquet"), "--target", "cnt"),
        *(part for name in NOT_FEATURES for part in ("--drop", name)),
    )
    assert declared["task"] == "regression"
    assert declared["event_time"] == "event_time"

    trained = mlops("train", "bike")
    assert trained["version"] == 1
    assert trained["metrics"]["r2"] > 0.8
    address = mlops("release", "bike")["address"]

    # Hours of one day are too few to judge; nothing is claimed.
    day = rows["event_time"].dt.strftime("%Y-%m-%d") == "2012-12-19"
    ids = ask(address, asked[day], rows.loc[day, "event_time"])
    label(address, ids, rows.loc[day, "cnt"])
    night = mlops("monitor", "bike", "--day", "2012-12-19")
    assert by_check(night) == {
        "expectations": "ok",
        "no_drift": "insufficient_data",
        "no_degradation": "insufficient_data",
        "healthy": "ok",
    }

    # With the day before, there are enough of them.
    day = rows["event_time"].dt.strftime("%Y-%m-%d") == "2012-12-20"
    ids = ask(address, asked[day], rows.loc[day, "event_time"])
    label(address, ids, rows.loc[day, "cnt"])
    night = mlops("monitor", "bike", "--day", "2012-12-20")
    assert by_check(night)["no_degradation"] == "ok"
    says = next(each["says"] for each in night["checks"] if each["check"] == "no_degradation")
    assert "on 48 labelled rows of 2 days together; " in says

    # A month at once, as of now: a December, as one of the training days' was; days differ so.
    month = rows["event_time"].dt.strftime("%Y-%m") == "2012-12"
    ids = ask(address, asked[month])
    label(address, ids, rows.loc[month, "cnt"])
    night = mlops("monitor", "bike")
    assert by_check(night) == {
        "expectations": "ok",
        "no_drift": "ok",
        "no_degradation": "ok",
        "healthy": "ok",
    }

    # A version that wants what nobody knows yet looks perfect, and refuses every caller.
    file = project_root / "assets/bike/defs.yaml"
    file.write_text(file.read_text().replace("drop: [casual, registered, ", "drop: ["))
    assert mlops("train", "bike")["metrics"]["r2"] > 0.99
    mlops("release", "bike")
    (said,) = refused(address, asked[month].head(12))
    assert 'column "casual" is missing' in said
    night = mlops("monitor", "bike")
    assert by_check(night)["healthy"] == "alarm"
    assert mlops("rollback", "bike", "--reason", "refuses every caller")["version"] == 1
    assert len(ask(address, asked[month].head(12))) == 12
    assert "quarantined" in mlops("rollback", "bike", "--to", "2", "--reason", "x", fails=True)
    assert mlops("status", "bike")[0]["serving"] == 1


def test_bank_marketing(mlops: Mlops, real_data: Path) -> None:
    rows = pd.read_parquet(real_data / "bank_marketing.parquet")
    asked = rows.drop(columns=["y", "contact_month"])
    declared = mlops(
        *("new", "bank", "--from", str(real_data / "bank_marketing.parquet"), "--target", "y")
    )
    assert (declared["task"], declared["event_time"]) == ("binary_classification", "contact_month")

    mlops("train", "bank")
    address = mlops("release", "bank")["address"]
    month = rows["contact_month"] == "2010-05-01"
    ids = ask(address, asked[month], rows.loc[month, "contact_month"])
    label(address, ids, rows.loc[month, "y"])
    night = mlops("monitor", "bank", "--day", "2010-05-01")
    assert by_check(night)["no_drift"] == "alarm"
    drift = next(each["says"] for each in night["checks"] if each["check"] == "no_drift")
    assert {"nr.employed", "euribor3m"} <= {name for name in asked if f"{name}: " in drift}
    assert by_check(night)["no_degradation"] == "ok"

    assert mlops("replay", "bank", ids[0])["identical"]
    behind = mlops("lineage", "bank", "--verify")
    assert behind["version"] == 1
    assert {proof["thing"]: proof["holds"] for proof in behind["proofs"]} == {
        proof["thing"]: True for proof in behind["proofs"]
    }
