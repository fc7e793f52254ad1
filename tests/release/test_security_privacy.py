from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.release.security.case import Case
from mlops_pipelines.release.security.privacy import advantage, membership, twins
from tests.release.security_cases import case_of, fitted, kinds, measured, noisy_classes


def test_a_model_that_learned_its_rows_by_heart_is_found(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    case = case_of(noisy_classes(1200), tmp_path)
    seen = membership(case, fitted(case, RandomForestClassifier(30, random_state=0)))
    assert kinds(seen) == [("medium", "membership shows")]
    assert measured(seen)["membership_advantage"] > 0.3


def test_a_model_that_generalizes_is_left_alone(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    case = case_of(noisy_classes(1200), tmp_path)
    seen = membership(case, fitted(case, LogisticRegression()))
    assert not seen.findings
    assert abs(measured(seen)["membership_advantage"]) < 0.15


def test_a_model_without_probabilities_is_judged_by_its_mistakes(tmp_path: Path) -> None:
    from sklearn.svm import LinearSVC

    case = case_of(noisy_classes(1200), tmp_path)
    seen = membership(case, fitted(case, LinearSVC()))
    assert not seen.findings


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 3000), st.integers(20, 3000))
def test_losses_of_one_kind_give_no_advantage(seed: int, n: int, m: int) -> None:
    """The finding's bound is 0.2; chance alone reaches it in fewer than 1 of 10,000 cases."""
    random = np.random.default_rng(seed)
    _, low, _ = advantage(random.exponential(size=n), random.exponential(size=m), 0)
    assert low <= 0.2


def test_the_interval_holds_the_true_advantage() -> None:
    """95 % of intervals should; of 200, fewer than 180 would do by chance 1 time in 10,000.

    Losses 0 or 1: of the best threshold, the advantage is the difference of the two shares.
    """
    random, held = np.random.default_rng(0), 0
    for seed in range(200):
        learned, fresh = random.random(400) < 0.3, random.random(200) < 0.6
        _, low, high = advantage(learned.astype(float), fresh.astype(float), seed)
        held += low <= 0.3 <= high
    assert held >= 180


def test_choosing_the_threshold_is_not_counted_as_success() -> None:
    random = np.random.default_rng(0)
    values = [
        advantage(random.exponential(size=60), random.exponential(size=60), seed)[0]
        for seed in range(200)
    ]
    assert abs(np.mean(values)) < 0.02


def with_copies(case: Case, share: float, shift: float = 0.0) -> Case:
    """The case with training rows in place of some holdout rows, a little changed."""
    random = np.random.default_rng(0)
    count = int(share * len(case.holdout))
    copies = case.train.sample(count, random_state=0).reset_index(drop=True)
    if shift:
        names = case.numeric
        noise = (
            shift * random.standard_normal((count, len(names))) * case.train[names].std().to_numpy()
        )
        copies[names] = copies[names].to_numpy() + noise
    holdout = pd.concat([copies, case.holdout.iloc[count:]], ignore_index=True)
    return Case(case.snapshot, case.train, holdout, case.metric, case.allowed)


@pytest.mark.parametrize("shift", [0.0, 0.01])
@pytest.mark.parametrize(("share", "severity"), [(0.04, "medium"), (0.4, "high")])
def test_training_rows_in_the_holdout_are_found(
    share: float, severity: str, shift: float, tmp_path: Path
) -> None:
    case = with_copies(case_of(noisy_classes(4000), tmp_path), share, shift)
    seen = twins(case)
    assert kinds(seen) == [(severity, "training rows in the holdout")]
    assert measured(seen)["holdout_twins"] == pytest.approx(share, abs=0.01)


def test_rows_copied_before_the_split_are_found(tmp_path: Path) -> None:
    """Each row several times: training rows have as many twins, and that is not natural."""
    rows = noisy_classes(500)
    copied = pd.concat([rows] * 3, ignore_index=True)
    case = case_of(copied.assign(row=range(len(copied))), tmp_path, drop=["row"])
    assert kinds(twins(case)) == [("high", "training rows in the holdout")]


@pytest.mark.parametrize("seed", range(10))
def test_data_of_few_values_have_twins_by_nature(seed: int, tmp_path: Path) -> None:
    """Ten seeds, none may be called: a rate of false alarms of 26 % would show with 95 %."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": random.integers(1, 6, 3000),
            "color": random.choice(["red", "green", "blue"], 3000),
            "flag": random.random(3000) < 0.5,
            "target": random.integers(0, 2, 3000),
            "row": range(3000),
        }
    )
    seen = twins(case_of(frame, tmp_path, drop=["row"]))
    assert not seen.findings
    assert measured(seen)["holdout_twins"] > 0.9


def test_one_dense_column_has_near_twins_by_nature(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.random(3000), "target": random.integers(0, 2, 3000)})
    seen = twins(case_of(frame, tmp_path))
    assert not seen.findings
    assert measured(seen)["holdout_twins"] > 0.9


def test_rows_that_differ_in_text_or_nulls_are_no_twins(tmp_path: Path) -> None:
    rows = noisy_classes(2000)
    case = case_of(rows.assign(place="here"), tmp_path)
    train = case.train.assign(place=np.where(np.arange(len(case.train)) % 2, "here", "there"))
    case = Case(case.snapshot, train, case.holdout, case.metric, case.allowed)
    moved = with_copies(case, 0.4)
    holdout = moved.holdout.assign(place="elsewhere")
    seen = twins(Case(case.snapshot, case.train, holdout, case.metric, case.allowed))
    assert not seen.findings
    nulls = with_copies(case, 0.4)
    holdout = nulls.holdout.assign(x0=np.nan)
    seen = twins(Case(case.snapshot, case.train, holdout, case.metric, case.allowed))
    assert not seen.findings
