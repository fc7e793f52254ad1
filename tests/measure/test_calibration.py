"""Calibrated chances rise with the score, keep the mean, and come true as often as they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from mlops_pipelines.measure.calibration import Calibration, calibrate

ROWS = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60)


@given(ROWS)
def test_it_is_isotonic_regression_at_its_breakpoints(rows: list[tuple[int, bool]]) -> None:
    score = np.array([s / 20 for s, _ in rows])
    event = np.array([e for _, e in rows], dtype=float)
    found = calibrate(score, event)
    fitted = IsotonicRegression().fit(score, event).predict(score)
    assert sum(found.rows) == len(rows)
    assert sum(r * n for r, n in zip(found.rates, found.rows, strict=True)) == pytest.approx(
        event.sum()
    )
    assert sorted(set(np.round(fitted, 9))) == pytest.approx(sorted(set(np.round(found.rates, 9))))
    assert np.all(np.diff(found.scores) > 0)
    chances = found(np.linspace(-1, 2, 50))
    assert np.all(np.diff(chances) >= 0)
    assert chances[0] == pytest.approx(found.rates[0])
    assert chances[-1] == pytest.approx(found.rates[-1])


def test_scores_that_claim_too_much_are_set_right() -> None:
    """20,000 rows whose odds are squared: the mean error of the chances is below 0.015.

    With n rows the error of isotonic regression is about 0.3 × n**-1/3 = 0.011; the seed is fixed.
    """
    random = np.random.default_rng(0)
    truth = random.uniform(0.02, 0.98, 20_000)
    claimed = truth**2 / (truth**2 + (1 - truth) ** 2)
    found = calibrate(claimed, random.random(20_000) < truth)
    assert np.abs(found(claimed) - truth).mean() < 0.015
    assert np.abs(claimed - truth).mean() > 0.08


def test_the_variance_of_a_sum_is_that_of_other_holdouts() -> None:
    """Of 300 calibrations on other rows the sum of chances varies as told, within a third.

    It errs on the large side, for a success and a failure are added to each rate.
    """
    random = np.random.default_rng(1)
    asked = random.random(200)
    fits = []
    for _ in range(300):
        score = random.random(1000)
        fits.append(calibrate(score, random.random(1000) < score))
    sums = np.std([fit(asked).sum() for fit in fits])
    told = np.mean([fit.variance_of_sum(asked) ** 0.5 for fit in fits])
    assert 0.75 * sums < told < 1.35 * sums
    assert fits[0].variance_of_sum(np.array([])) == 0


def test_one_breakpoint_and_no_rows() -> None:
    flat = calibrate([0.2, 0.8], [1, 0])
    assert (flat.scores, flat.rates, flat.rows) == ((0.5,), (0.5,), (2,))
    assert flat([0.0, 1.0]).tolist() == [0.5, 0.5]
    # Ten rows rest on one rate of a half out of two rows: 100 × ¼ / 2.
    assert flat.variance_of_sum(np.full(10, 0.3)) == pytest.approx(12.5)
    with pytest.raises(ValueError, match="there are no rows"):
        calibrate([], [])


def test_json() -> None:
    found = calibrate(np.linspace(0, 1, 50), np.arange(50) % 3 == 0)
    again = Calibration.from_json(json.loads(json.dumps(found.to_json())))
    assert again(np.linspace(0, 1, 9)) == pytest.approx(found(np.linspace(0, 1, 9)), abs=1e-8)
    assert again.rows == found.rows
