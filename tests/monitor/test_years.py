"""Years of nights of a world with seasons, weekdays and autocorrelated days: when it is silent."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from mlops_pipelines.measure.estimate import CONFIDENCE
from mlops_pipelines.measure.intervals import bootstrap_interval
from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.monitor.usual import Night, fall, usual

FIRST = date(2023, 1, 1)
ROWS, NIGHTS = 150, 3 * 365
DROP, PER_YEAR = 0.05, 1.0
DIP = range(374, 388)
"""Two weeks in the second January, in which the model's scores are worth half as much."""


def three_years(seed: int, dip: range) -> tuple[list[int], int]:
    """The nights that alarm, and how many would by a 95 % interval that excludes the baseline."""
    random = np.random.default_rng(seed)
    # The holdout was drawn from the days of the model's training: a little better than production.
    baseline = 0.855
    usual_worth, level = 1.4, 0.0
    nights: list[Night] = []
    alarms, by_interval = [], 0
    for place in range(NIGHTS):
        level = 0.8 * level + 0.06 * random.normal()
        season = 0.08 * np.sin(2 * np.pi * place / 365.25) - 0.06 * (place % 7 >= 5)
        worth = (0.3 if place in dip else usual_worth) + level + season
        x = random.normal(size=ROWS)
        truth = (random.random(ROWS) < 1 / (1 + np.exp(-1.4 * worth * x))).astype(int)
        answer = Outputs((x > 0).astype(int), 1 / (1 + np.exp(-x)))
        shown = bootstrap_interval("roc_auc", truth, answer, (0, 1), n_resamples=300, seed=0)
        day = (FIRST + timedelta(days=place)).isoformat()
        found = fall(
            "roc_auc", shown, baseline, baseline - DROP, PER_YEAR / 365, usual(nights, day)
        )
        error = (shown.high - shown.low) / (2 * CONFIDENCE)
        nights.append(Night(day, shown.value, error, ROWS, sound=not found.fell))
        if found.fell:
            alarms.append(place)
        by_interval += shown.value < baseline - DROP and shown.high < baseline
    return alarms, by_interval


@pytest.mark.parametrize("seed", range(3))
def test_three_years_without_harm_are_silent_as_promised(seed: int) -> None:
    """One false alarm a year is promised: in three, six or more have a chance of 1 in 12."""
    alarms, by_interval = three_years(seed, range(0))
    assert len(alarms) <= 5
    assert by_interval > 30


def test_a_dip_in_january_is_seen_in_days_and_gone_when_it_is_over() -> None:
    alarms, _ = three_years(7, DIP)
    inside = [place for place in alarms if place in DIP]
    assert inside[0] <= DIP.start + 1
    assert len(inside) >= 12
    after = [place for place in alarms if DIP.stop <= place < DIP.stop + 30]
    assert len(after) <= 2
    assert len(alarms) - len(inside) - len(after) <= 5
