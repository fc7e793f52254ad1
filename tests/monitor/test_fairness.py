"""The gaps of a day: found where they were planted, silent where chance explains them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.monitor.fairness import assess_fairness

GATE = {"fairness": "equal_opportunity_difference", "segment": "site", "at_most": 0.1}


def day(found: dict[str, float], rows: int = 300, seed: int = 0, version: int = 3) -> pd.DataFrame:
    """Rows of groups, half of them bad, of which a group's share `found` is called bad."""
    rng = np.random.default_rng(seed)
    site = np.repeat(list(found), rows)
    n = len(site)
    truth = np.where(rng.random(n) < 0.5, "bad", "good")
    chance = np.where(truth == "bad", [found[each] for each in site], 0.1)
    called = np.where(rng.random(n) < chance, "bad", "good")
    score = np.where(called == "bad", 0.9, 0.2)
    return pd.DataFrame(
        {
            "prediction_id": [f"p{version}-{i}" for i in range(n)],
            "predicted_at": pd.Timestamp("2026-03-01", tz="UTC"),
            "model_version": version,
            "prediction": called,
            "score": score,
            "probabilities": [np.array([s, 1 - s]) for s in score],
            "site": site,
            "label": truth,
        }
    )


@pytest.fixture
def spec(make_spec: Any) -> Any:
    def make(*gates: Any, **fields: Any) -> Any:
        data = {"segments": ["site"], "positive": "bad"}
        return make_spec(gates=gates, data=data, **fields)

    return make


def test_a_planted_gap_is_an_alarm(spec: Any) -> None:
    rows = day({"north": 0.9, "south": 0.5})
    found = assess_fairness(spec(GATE), rows, 3, classes=("bad", "good"))
    assert found is not None
    assert (found.status, found.labelled) == ("alarm", 600)
    assert found.sentence.startswith("equal_opportunity_difference between groups of site 0.4")
    assert "widest between south and north), and chance does not explain it" in found.sentence
    assert found.sentence.endswith(", on 600 labelled rows")
    metrics = found.metrics()
    name = "fairness/site/equal_opportunity_difference"
    assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    assert len(metrics) == 3 * len(spec(GATE).gaps)
    [of_gate] = [e for e in found.evidence() if e["gap"] == "equal_opportunity_difference"]
    assert of_gate["value"] == metrics[name] and of_gate["between"] == ["south", "north"]
    assert "| site: equal_opportunity_difference |" in found.markdown()


def test_a_gap_that_chance_may_explain_is_no_alarm(spec: Any) -> None:
    rows = day({"north": 0.85, "south": 0.7}, rows=90)
    found = assess_fairness(spec(GATE), rows, 3, classes=("bad", "good"))
    assert found is not None and found.status == "ok"
    assert "is above 0.1" in found.sentence and "which chance may explain" in found.sentence


def test_nights_without_a_gap_are_silent(spec: Any) -> None:
    """The declared bound is 0.1 and the true gap nought: not 1 night in 100."""
    nights = [
        assess_fairness(spec(GATE), day({"a": 0.8, "b": 0.8, "c": 0.8}, 150, seed), 3)
        for seed in range(60)
    ]
    assert [night.status for night in nights if night] == ["ok"] * 60


def test_a_gap_nobody_bound_is_measured_and_no_alarm(spec: Any) -> None:
    found = assess_fairness(spec(), day({"north": 0.9, "south": 0.5}), 3)
    assert found is not None and found.status == "ok"
    assert found.sentence == "6 of 6 gaps are measured, and none has a bound, on 600 labelled rows"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (5, "10 labelled rows; 30 are needed to judge"),
        (
            25,
            "equal_opportunity_difference between groups of site cannot be measured: 30 rows are "
            "needed of each group, and there are: north (10), south (11), on 50 labelled rows",
        ),
    ],
)
def test_few_rows_are_insufficient_data(spec: Any, rows: int, sentence: str) -> None:
    found = assess_fairness(spec(GATE), day({"north": 1.0, "south": 0.0}, rows), 3)
    assert found is not None
    assert (found.status, found.sentence, found.metrics()) == ("insufficient_data", sentence, {})


def test_rows_of_another_version_do_not_count(spec: Any) -> None:
    both = pd.concat([day({"north": 0.8, "south": 0.8}), day({"north": 1, "south": 0}, version=4)])
    found = assess_fairness(spec(GATE), both.reset_index(drop=True), 3)
    assert found is not None and (found.status, found.labelled) == ("ok", 600)


def test_without_segments_there_is_nothing_to_say(make_spec: Any) -> None:
    rows = day({"north": 0.9, "south": 0.5})
    assert assess_fairness(make_spec(), rows, 3) is None


def test_a_log_without_the_segment_says_so(spec: Any) -> None:
    rows = day({"north": 0.9, "south": 0.5})
    found = assess_fairness(spec(GATE), rows.drop(columns="site"), 3)
    assert found is not None and found.status == "insufficient_data"
    assert found.sentence == "the log has no column site: only features are logged"


def test_regression_and_names_that_mlflow_would_refuse(make_spec: Any) -> None:
    rng = np.random.default_rng(0)
    sex = np.repeat(["f", "m"], 100)
    truth = rng.normal(size=200)
    rows = pd.DataFrame(
        {
            "model_version": 3,
            "prediction": truth + np.where(sex == "f", 2.0, 0.0) + rng.normal(size=200) / 10,
            "score": None,
            "probabilities": None,
            "sex (f/m)": sex,
            "label": truth,
        }
    )
    gate = {"fairness": "mean_error_difference", "segment": "sex (f/m)", "at_most": 1}
    spec = make_spec("regression", gates=[gate], data={"segments": ["sex (f/m)"]})
    found = assess_fairness(spec, rows, 3)
    assert found is not None and found.status == "alarm"
    assert found.metrics()["fairness/sex _f_m_/mean_error_difference"] == pytest.approx(2, abs=0.1)
