"""Models that few rows ask a day: what no day shows, a week or four weeks do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.measure.blocks import observe
from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.evidence import Verdict
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column, Profile, profile_like, reference_profile


def few_a_day(random: np.random.Generator, days: int, rows: int, shift: float = 0) -> pd.DataFrame:
    """Rows of so many days, which differ a little by nature; their hours are over the day."""
    start = pd.Timestamp("2024-01-01")
    day = np.repeat(np.arange(days), rows)
    level = np.repeat(0.3 * random.normal(size=days), rows)
    a = level + shift + random.normal(size=days * rows)
    kind = random.choice(["x", "y", "z"], days * rows, p=[0.6, 0.3, 0.1])
    when = start + pd.to_timedelta(day * 24 + random.integers(0, 24, days * rows), unit="h")
    return pd.DataFrame({"a": a, "kind": kind, "when": when, "day": day})


@pytest.fixture(scope="module")
def low_traffic() -> Reference:
    rows = few_a_day(np.random.default_rng(0), 365, 24)
    bins = reference_profile(rows, [Column("a", "numeric"), Column("kind", "categorical")])
    return Reference.of(rows, bins, rows["when"])


def nightly(reference: Reference, rows: pd.DataFrame, first: int) -> list[Verdict]:
    """Each day from `first` on judged as nights are, with the days before it."""
    counted = [profile_like(part, reference.profile) for _, part in rows.groupby("day")]
    accepted: list[Profile] = []
    found = []
    for place, window in enumerate(counted):
        verdict = drift_verdict(
            reference,
            window,
            false_alarms_per_year=1,
            visible=0.3,
            accepted=accepted,
            recent=counted[max(0, place - 27) : place],
        )
        if verdict.status == "ok":
            accepted.append(window)
        if place >= first:
            found.append(verdict)
    return found


def test_a_model_that_few_ask_a_day_is_judged_by_its_weeks(low_traffic: Reference) -> None:
    """24 rows a day: no day alone says anything, 7 or 28 of them do, and do not cry wolf."""
    assert low_traffic.unit == "week"
    found = nightly(low_traffic, few_a_day(np.random.default_rng(1), 120, 24), 28)
    assert {each.status for each in found} == {"ok"}
    assert found[-1].reason.startswith("24 rows alone are too few; over ")
    assert found[-1].blocks >= 8
    assert found[-1].attainable > 1 / 365


def test_a_drift_of_a_model_that_few_ask_a_day_is_found_within_a_month(
    low_traffic: Reference,
) -> None:
    random = np.random.default_rng(2)
    quiet, moved = few_a_day(random, 40, 24), few_a_day(random, 28, 24, shift=1.2)
    rows = pd.concat([quiet, moved.assign(day=moved["day"] + 40)], ignore_index=True)
    found = nightly(low_traffic, rows, 40)
    assert "alarm" in {each.status for each in found[:14]}
    assert found[-1].status == "alarm"
    assert "windows together" in found[-1].reason


def test_accepted_days_stand_beside_weeks_by_seven(low_traffic: Reference) -> None:
    """One day differs more than a week: a sum of seven is not judged by single ones."""
    days = [
        profile_like(part, low_traffic.profile)
        for _, part in few_a_day(np.random.default_rng(3), 70, 24).groupby("day")
    ]
    observed = observe(low_traffic.profile, low_traffic.blocks, days, 1, 7)
    assert observed is not None
    assert {block.n for block in observed.blocks[-10:]} == {7 * 24}
    assert len(observed.blocks) == len(low_traffic.blocks) + 10


def test_a_window_of_a_month_stands_beside_months(low_traffic: Reference) -> None:
    """Four weeks of the reference differ less than one: what no week shows, a month does."""
    random = np.random.default_rng(4)
    usual = profile_like(few_a_day(random, 28, 24), low_traffic.profile)
    moved = profile_like(few_a_day(random, 28, 24, shift=0.45), low_traffic.profile)
    asked = {"false_alarms_per_year": 1, "windows_per_year": 13}
    month = drift_verdict(low_traffic, usual, **asked)
    assert (month.status, month.blocks) == ("ok", len(low_traffic.blocks) // 4)
    assert month.attainable == pytest.approx(1 / 13)
    assert drift_verdict(low_traffic, moved, **asked).status == "alarm"
