from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.release.security.attack import under_attack
from mlops_pipelines.release.security.case import Case, Numbers
from mlops_pipelines.release.security.robustness import under_noise
from tests.release.security_cases import case_of, fitted, kinds, measured, noisy_classes


def stripes(width: float, rows: int = 3000) -> pd.DataFrame:
    """A class that changes from one stripe to the next, each so many standard deviations wide."""
    random = np.random.default_rng(0)
    x = random.standard_normal(rows)
    target = (np.floor(x / width) % 2).astype(int)
    return pd.DataFrame({"x": x, "y": random.standard_normal(rows), "target": target})


def neighbour(case: Case) -> object:
    from sklearn.compose import make_column_transformer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    first = make_column_transformer(("passthrough", ["x"]))
    return fitted(case, make_pipeline(first, KNeighborsClassifier(1)))


def test_a_model_whose_answers_hang_on_tiny_differences_is_found(tmp_path: Path) -> None:
    case = case_of(stripes(0.03), tmp_path)
    model = neighbour(case)
    noise, attack = under_noise(case, model), under_attack(case, model)
    assert kinds(noise) == [("medium", "fragile under noise")]
    assert measured(noise)["noise_0.05"] > 0.2
    assert kinds(attack) == [("medium", "fragile under attack")]
    assert measured(attack)["attack_move"] < 0.02


def test_a_model_with_wide_margins_is_left_alone(tmp_path: Path) -> None:
    case = case_of(stripes(1.5), tmp_path)
    model = neighbour(case)
    noise, attack = under_noise(case, model), under_attack(case, model)
    assert kinds(noise) == kinds(attack) == []
    assert measured(noise)["noise_0.05"] < 0.05
    assert measured(attack)["attack_move"] > 0.1


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_no_alarm_for_a_linear_model(seed: int, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    case = case_of(noisy_classes(600, seed=seed), tmp_path)
    assert not under_noise(case, fitted(case, LogisticRegression())).findings


def test_the_attack_finds_nearly_the_smallest_move_there_is(tmp_path: Path) -> None:
    """Of a linear model it is known: the margin over the sum of its weights per spread."""
    from sklearn.linear_model import LogisticRegression

    case = case_of(noisy_classes(1500), tmp_path)
    estimator = LogisticRegression()
    model = fitted(case, estimator)
    (measure,) = under_attack(case, model).measures
    spread = case.train[case.numeric].std().to_numpy()
    margins = np.abs(estimator.decision_function(case.holdout[case.numeric]))
    exact = margins / np.abs(estimator.coef_[0] * spread).sum()
    right = estimator.predict(case.holdout[case.numeric]) == case.holdout["target"]
    # Of the attacked rows, the median lies where chance puts that of 20 of all rows.
    low, high = np.quantile(exact[right], [0.2, 0.8])
    assert low < measure.value < high
    assert measure.n >= 6


def test_the_same_seed_gives_the_same_report_and_leaves_no_trace(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    case = case_of(noisy_classes(400, columns=3), tmp_path)
    model = fitted(case, LogisticRegression())
    home, drawn = os.environ.get("HOME"), np.random.get_state()[1].copy()
    first, second = under_attack(case, model), under_attack(case, model)
    # How many rows are reached depends on the machine, how they come out does not.
    if first.measures[0].n == second.measures[0].n:
        assert first == second
    assert under_noise(case, model) == under_noise(case, model)
    assert os.environ.get("HOME") == home
    assert (np.random.get_state()[1] == drawn).all()


def test_a_regression_is_attacked_until_it_is_wrong_by_its_usual_error(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    random = np.random.default_rng(0)
    values = random.standard_normal((1000, 3))
    target = values.sum(axis=1) + random.normal(0, 0.6, 1000)
    frame = pd.DataFrame(values, columns=list("abc")).assign(target=target)
    case = case_of(frame, tmp_path, "regression")
    (measure,) = under_attack(case, fitted(case, LinearRegression())).measures
    assert measure.value == pytest.approx(0.2, abs=0.02)  # 0.6 over three weights of 1
    assert not under_noise(case, fitted(case, LinearRegression())).findings


def test_text_booleans_and_nulls_stay_and_whole_numbers_stay_whole(tmp_path: Path) -> None:
    rows = noisy_classes(300, columns=2)
    random = np.random.default_rng(0)
    frame = rows.assign(
        count=random.integers(0, 9, 300),
        rate=np.where(random.random(300) < 0.3, np.nan, random.random(300)),
        text=random.choice(["a", "b"], 300),
        flag=random.random(300) < 0.5,
        constant=3,
    )
    case = case_of(frame, tmp_path)
    numbers = Numbers.of(case)
    assert numbers.names == ["x0", "x1", "count", "rate"]
    by = random.standard_normal((len(case.holdout), 4))
    moved, came = numbers.moved(case.holdout, by)
    assert list(moved.dtypes) == list(case.holdout.dtypes)
    same = ["text", "flag", "constant", "target"]
    pd.testing.assert_frame_equal(moved[same], case.holdout[same])
    assert (moved["rate"].isna() == case.holdout["rate"].isna()).all()
    for place, name in enumerate(numbers.names):
        low, high = case.train[name].min(), case.train[name].max()
        before = case.holdout[name]
        assert (moved[name].dropna() >= np.minimum(before, low).dropna()).all()
        assert (moved[name].dropna() <= np.maximum(before, high).dropna()).all()
        distance = ((moved[name] - before) / numbers.spread[place]).fillna(0.0)
        np.testing.assert_allclose(came[:, place], distance)
    row = case.holdout[numbers.names].to_numpy(dtype=np.float64)[:1]
    alone, far = numbers.reached(row, by[:1])
    np.testing.assert_array_equal(alone, moved[numbers.names].to_numpy(dtype=np.float64)[:1])
    np.testing.assert_array_equal(far, came[:1])


def test_without_numbers_there_is_nothing_to_move(tmp_path: Path) -> None:
    from sklearn.dummy import DummyClassifier

    frame = pd.DataFrame({"a": list("xyz") * 100, "target": [0, 1] * 150})
    case = case_of(frame.assign(row=range(300)), tmp_path, drop=["row"])
    model = fitted(case, DummyClassifier())
    assert not under_noise(case, model).measures
    assert not under_attack(case, model).measures


def test_a_model_that_says_one_thing_only_cannot_be_turned(tmp_path: Path) -> None:
    from sklearn.dummy import DummyClassifier

    case = case_of(noisy_classes(300), tmp_path)
    seen = under_attack(case, fitted(case, DummyClassifier(strategy="most_frequent")))
    assert not seen.findings
    assert measured(seen) == {"attack_changed": 0.0}
