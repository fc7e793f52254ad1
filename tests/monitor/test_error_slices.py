"""Where a version goes wrong is found, measured on rows it was not found on, and not made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.monitor.error_slices import error_slices, most_wrong
from mlops_pipelines.monitor.outcome import outcome
from mlops_pipelines.monitor.previous import replay
from tests.monitor.test_performance import predictor


def rows(n: int, seed: int, bad: float = 0.0) -> pd.DataFrame:
    """A tenth of the answers are wrong, and `bad` more where amount > 50 and the channel is web."""
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    amount = random.uniform(0, 100, n)
    channel = random.choice(["web", "shop", "app"], n)
    wrong = random.random(n) < 0.1 + bad * ((amount > 50) & (channel == "web"))
    label = np.where(x > 0, "good", "bad")
    other = np.where(x > 0, "bad", "good")
    prediction = np.where(wrong, other, label)
    score = np.where(prediction == "good", 0.8, 0.2)
    return pd.DataFrame(
        {
            "prediction_id": [f"p{i}" for i in range(n)],
            "predicted_at": pd.Timestamp("2026-03-01", tz="UTC"),
            "model_version": 3,
            "prediction": prediction,
            "score": score,
            "probabilities": [np.array([1 - s, s]) for s in score],
            "x": x,
            "amount": np.where(random.random(n) < 0.02, np.nan, amount),
            "channel": channel,
            "label": label,
        }
    )


def knows_x(frame: pd.DataFrame) -> Any:
    good = 1 / (1 + np.exp(-4 * frame["x"].to_numpy()))
    return np.column_stack([1 - good, good])


def test_the_bad_slice_is_found_beside_the_declared_ones(make_spec: Any) -> None:
    spec = make_spec(data={"segments": ["channel"]})
    own = outcome(spec, rows(3000, 0, bad=0.5))
    theirs = replay(own, predictor(knows_x, ("bad", "good")), 2)
    found = error_slices(spec, own, theirs)
    worst = found.worse[0]
    assert worst.found and "channel = web" in worst.rule and "amount > 5" in worst.rule
    assert worst.low <= 0.6 <= worst.high
    assert worst.previous == 0.0
    assert found.overall == pytest.approx(0.1 + 0.5 / 6, abs=0.03)
    declared = [each for each in found.slices if not each.found]
    assert {each.rule for each in declared} == {
        "channel = web",
        "channel = shop",
        "channel = app",
    }
    assert sum(each.n for each in declared) == 3000
    assert sum(each.n for each in found.slices if each.found) == 1500
    assert "| worse found |" in found.markdown()
    again = error_slices(spec, own, theirs)
    assert again == found


def test_chance_is_rarely_called_a_slice(make_spec: Any) -> None:
    """Of 40 days without a bad slice, each with at most 8 leaves whose interval errs in 2.5 %.

    Leaves that seem worse: about 40 × 8 × 2.5 % = 8; 18 at most (1 in 1,000).
    """
    spec = make_spec()
    seeming = sum(
        len(error_slices(spec, outcome(spec, rows(600, seed))).worse) for seed in range(40)
    )
    assert seeming <= 18


def test_the_worst_rows_beside_the_previous_answers(make_spec: Any) -> None:
    spec = make_spec()
    own = outcome(spec, rows(200, 0))
    theirs = replay(own, predictor(knows_x, ("bad", "good")), 2)
    found = most_wrong(spec, own, theirs)
    assert len(found) == 20 and found["loss"].is_monotonic_decreasing
    assert (found["previous"] == found["label"]).all()
    assert (found["prediction"] != found["label"]).any()
    assert most_wrong(spec, own)["previous"].isna().all()
    none = most_wrong(spec, outcome(spec, rows(9, 0).iloc[:0]))
    assert len(none) == 0 and "previous" in none.columns


def test_few_rows_and_regression(make_spec: Any) -> None:
    empty = error_slices(make_spec(), outcome(make_spec(), rows(9, 0).iloc[:0]))
    assert (empty.overall, empty.worse) == (None, ())
    assert empty.markdown() == "too few labelled rows to look for slices"
    few = error_slices(make_spec(), outcome(make_spec(), rows(60, 0)))
    assert few.slices == () and few.overall is not None
    random = np.random.default_rng(0)
    x = random.normal(size=1000)
    frame = rows(1000, 0).assign(
        prediction=x, score=x, probabilities=None, x=x, label=x + np.where(x > 1, 5.0, 0.1)
    )
    spec = make_spec("regression")
    found = error_slices(spec, outcome(spec, frame))
    assert found.what == "mean absolute error"
    assert found.worse[0].rule.startswith("x > ") and found.worse[0].error > 4
