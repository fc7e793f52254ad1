"""How far past estimates were off: said beside new ones, and what they are corrected by."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from mlops_pipelines.monitor.track_record import NOTHING, Scored, track_record


def nights(errors: list[float], margin: float = 0.02) -> list[Scored]:
    first = date(2026, 1, 1)
    return [
        Scored((first + timedelta(days=i)).isoformat(), error, margin)
        for i, error in enumerate(errors)
    ]


def test_no_night_and_few() -> None:
    assert track_record([]) is NOTHING
    assert NOTHING.sentence == "no night has been scored against its labels yet"
    found = track_record(nights([0.01, -0.03, 0.02, 0.0]))
    assert (found.nights, found.enough, found.shift) == (4, False, 0.0)
    assert found.mean_error == pytest.approx(0.015)
    assert found.sentence == "estimates were off by 0.015 on average over 4 nights with labels"
    assert track_record(nights([0.01])).sentence.endswith("over 1 night with labels")


def test_what_sampling_explains_widens_nothing() -> None:
    random = np.random.default_rng(0)
    calm = track_record(nights((0.01 * random.normal(size=60)).tolist(), 0.0196))
    assert calm.deviation < 0.005 and abs(calm.shift) < 0.002 and calm.enough
    wild = track_record(nights((0.05 * random.normal(size=60)).tolist(), 0.0196))
    assert wild.deviation == pytest.approx(0.05, rel=0.25)


def test_a_lasting_error_corrects_the_next_estimates() -> None:
    """Every estimate is 0.1 too high: from the fifth scored night on it is moved by about that."""
    random = np.random.default_rng(0)
    found = track_record(nights((-0.1 + 0.01 * random.normal(size=30)).tolist()))
    assert found.shift == pytest.approx(-0.1, abs=0.01)
    # The first five could not be corrected, the others were.
    assert found.mean_error == pytest.approx((5 * 0.1 + 25 * 0.008) / 30, rel=0.2)
    late = track_record(nights([-0.1] * 30), delay_days=10)
    assert late.mean_error == pytest.approx(14 * 0.1 / 30)


def test_chance_rarely_moves_an_estimate() -> None:
    """Ten nights without bias: beyond two standard errors in 7.6 % (t with 9 degrees).

    Of 400 at most 50 (fewer than 1 in 1,000 would be more), and on average hardly at all.
    """
    random = np.random.default_rng(0)
    shifts = [
        track_record(nights((0.01 * random.normal(size=10)).tolist())).shift for _ in range(400)
    ]
    assert sum(shift != 0 for shift in shifts) <= 50
    assert np.abs(shifts).mean() < 0.0005
