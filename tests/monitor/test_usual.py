"""What tells a bad night from a usual one, at the rate that was promised."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines import record
from mlops_pipelines.measure.intervals import Interval
from mlops_pipelines.monitor.several_days import with_days_before
from mlops_pipelines.monitor.usual import UNKNOWN, Night, Usual, earlier_nights, fall, usual

BASELINE, LIMIT, ALPHA = 0.80, 0.75, 1 / 365
FIRST = date(2026, 1, 1)


def night(place: int, value: float, error: float = 0.02, **more: Any) -> Night:
    day = (FIRST + timedelta(days=place)).isoformat()
    return Night(day, value, error, 400.0, **more)


def shown(value: float, error: float = 0.02) -> Interval:
    return Interval(value, value - 1.96 * error, value + 1.96 * error, 400, 0)


def share_of_alarms(random: np.random.Generator, level: float, between: float, n: int) -> float:
    """Of n nights after a year of such nights, each judged beside the last 200 of them."""
    values = level + between * random.normal(size=365 + n) + 0.02 * random.normal(size=365 + n)
    nights = [night(place, value) for place, value in enumerate(values)]
    alarms = 0
    for place in range(365, 365 + n):
        before = usual(nights[place - 200 : place], nights[place].day)
        alarms += fall("accuracy", shown(values[place]), BASELINE, LIMIT, ALPHA, before).fell
    return alarms / n


@pytest.mark.parametrize(
    ("level", "between"), [(0.80, 0.0), (0.78, 0.0), (0.78, 0.02), (0.79, 0.04), (0.76, 0.03)]
)
def test_nights_as_usual_alarm_no_oftener_than_promised(level: float, between: float) -> None:
    """As labels of 400 rows show it, whether nights differ by nature or not, 1,500 nights each."""
    rate = share_of_alarms(np.random.default_rng(0), level, between, 1500)
    # Three standard errors of a rate of 1/365 in 1,500 nights above it.
    assert rate <= ALPHA + 3 * (ALPHA / 1500) ** 0.5


def test_the_holdout_s_interval_alone_would_alarm_often() -> None:
    """That nights differ is what the earlier ones say; without it, one in twelve alarms."""
    random = np.random.default_rng(0)
    values = 0.78 + 0.04 * random.normal(size=1500) + 0.02 * random.normal(size=1500)
    alone = [fall("accuracy", shown(value), BASELINE, LIMIT, ALPHA).fell for value in values]
    assert np.mean(alone) > 0.05


def test_a_clear_fall_is_seen_on_its_first_night_and_a_small_one_within_a_week() -> None:
    nights = [night(place, 0.80 + 0.01 * (-1) ** place) for place in range(30)]
    before = usual(nights, "2026-01-31")
    sharp = fall("accuracy", shown(0.70), BASELINE, LIMIT, ALPHA, before)
    assert (sharp.fell, sharp.over) == (True, "night")
    found = []
    for place in range(30, 37):
        day = (FIRST + timedelta(days=place)).isoformat()
        found.append(fall("accuracy", shown(0.745), BASELINE, LIMIT, ALPHA, usual(nights, day)))
        nights.append(night(place, 0.745, sound=not found[-1].fell))
    assert not found[0].fell
    assert found[-1].over == "nights"
    assert found[-1].value == pytest.approx(0.745, abs=0.01)


def test_a_night_within_the_limit_is_silent_whatever_was_before() -> None:
    dip = [night(place, 0.6, sound=False) for place in range(6)]
    assert not fall("accuracy", shown(0.76), BASELINE, LIMIT, ALPHA, usual(dip, "2026-01-07")).fell


def test_nights_after_a_dip_are_not_judged_by_it() -> None:
    """The value of a usual night that is a little beyond the limit, after six very bad ones."""
    nights = [night(place, 0.80 + 0.01 * (-1) ** place) for place in range(30)]
    nights += [night(place, 0.55, sound=False) for place in range(30, 36)]
    before = usual(nights, "2026-02-06")
    assert len(before.recent) == 6
    assert not fall("accuracy", shown(0.745), BASELINE, LIMIT, ALPHA, before).fell


def test_usual_is_never_better_than_the_holdout_nor_beyond_the_limit() -> None:
    better = Usual(30, 0.9)
    assert not fall("accuracy", shown(0.745), BASELINE, LIMIT, ALPHA, better).fell
    beyond = Usual(30, 0.6)
    assert fall("accuracy", shown(0.68), BASELINE, LIMIT, ALPHA, beyond).fell


def test_an_error_falls_by_rising() -> None:
    assert fall("rmse", shown(1.4), 1.0, 1.2, ALPHA).fell
    assert not fall("rmse", shown(0.6), 1.0, 1.2, ALPHA).fell
    assert not fall("rmse", shown(1.21, 0.2), 1.0, 1.2, ALPHA).fell


def test_what_earlier_nights_say() -> None:
    few = usual([night(place, 0.8) for place in range(4)], "2026-01-05")
    assert (few.nights, few.level, few.sentence) == (4, None, "")
    values = [0.7, 0.8] * 20
    alarmed = night(40, 0.2, sound=False)
    found = usual([*(night(i, value) for i, value in enumerate(values)), alarmed], "2026-02-11")
    assert found.level == pytest.approx(0.75)
    assert found.deviation == pytest.approx(np.sqrt(np.var(values, ddof=1) - 0.02**2))
    assert [each.value for each in found.recent][-1] == 0.2
    assert len(found.recent) == 6
    assert found.sentence == "0.75 on average of 40 earlier nights"
    assert usual([night(0, 0.8)], "2025-12-31") == UNKNOWN


def test_nights_of_the_same_days_count_once() -> None:
    overlapping = [night(place, 0.8, days=3) for place in range(30)]
    assert usual(overlapping, "2026-01-31").nights == 10


def test_a_day_of_few_rows_is_taken_together_with_those_before_it() -> None:
    def read(day: str) -> pd.DataFrame:
        n = 24 if day >= "2026-01-01" else 0
        return pd.DataFrame(
            {"day": [day] * n, "model_version": [1] * (n - n // 4) + [2] * (n // 4)}
        )

    rows, days = with_days_before(read, "2026-01-09", 1, 50)
    assert days == 3
    own = rows[rows["model_version"] == 1]
    assert own["day"].value_counts().to_dict() == dict.fromkeys(
        ("2026-01-07", "2026-01-08", "2026-01-09"), 18
    )
    # Of another version, what it answered on the day itself.
    assert set(rows.loc[rows["model_version"] == 2, "day"]) == {"2026-01-09"}
    alone, one = with_days_before(read, "2026-01-02", 1, 50)
    assert (len(alone), one) == (24, 1)


def test_nights_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    """Of this version, before this day, with a realised value; an alarm is no sound night."""
    from mlops_pipelines.train.registry import Registry

    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))
    assert earlier_nights(registry, "churn", 1, "2026-01-05", "roc_auc") == []
    shown = {"labelled": 200.0, "roc_auc": 0.9, "roc_auc_low": 0.9, "roc_auc_high": 0.939}
    for day, version, metrics, status in (
        ("2026-01-02", 1, {**shown, "days_together": 2.0}, "ok"),
        ("2026-01-01", 1, shown, "alarm"),
        ("2026-01-03", 1, {"labelled": 3.0, "roc_auc": 0.5}, "insufficient_data"),
        ("2026-01-04", 2, shown, "ok"),
        ("2026-01-05", 1, shown, "ok"),
    ):
        with registry.night("churn", day, version) as night:
            night.log(metrics, tags={record.VERDICTS["performance"]: status})
    found = earlier_nights(registry, "churn", 1, "2026-01-05", "roc_auc")
    assert [(each.day, each.days, each.sound) for each in found] == [
        ("2026-01-01", 1, False),
        ("2026-01-02", 2, True),
    ]
    assert (found[0].value, found[0].rows) == (0.9, 200.0)
    assert found[0].error == pytest.approx(0.039 / 2 / 1.96, rel=1e-3)
