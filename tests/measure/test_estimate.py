"""Estimates without labels: what they are worth, measured against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.estimate import Estimate, class_estimates, paired_losses
from mlops_pipelines.measure.estimator import Estimator, fit_estimator
from mlops_pipelines.measure.metrics import evaluate
from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.measure.profile import Column, reference_profile

NOTHING = pd.DataFrame(index=range(0))


def binary(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, Outputs]:
    """Scores whose odds are squared; `shift` moves the rows, not what a score means."""
    random = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(-(1.5 * random.normal(size=n) + shift)))
    claimed = chance**2 / (chance**2 + (1 - chance) ** 2)
    truth = (random.random(n) < chance).astype(int)
    return truth, Outputs((claimed > 0.5).astype(int), claimed)


def classes_of(n: int, seed: int, tilt: float = 0.0) -> tuple[np.ndarray, Outputs]:
    """Three classes whose probabilities are too sure of themselves."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 3)) * 1.2 + [tilt, 0, -tilt]
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (random.random((n, 1)) > share.cumsum(axis=1)).sum(axis=1)
    sure = share**2 / (share**2).sum(axis=1, keepdims=True)
    place = sure.argmax(axis=1)
    return truth, Outputs(place, sure[np.arange(n), place], sure)


def fitted(made: Any, n: int, classes: tuple[int, ...]) -> Estimator:
    truth, outputs = made(n, 1000)
    return fit_estimator(pd.DataFrame(index=range(n)), (), truth, outputs, classes)


@pytest.mark.parametrize(("made", "k"), [(binary, 2), (classes_of, 3)])
def test_estimates_meet_the_truth_under_covariate_shift(made: Any, k: int) -> None:
    """Of 200 windows of 500 rows, shifted differently, the realised metric lies in the interval.

    Nominally in 95 %; of 200 windows at least 180 (were it 95 %, fewer come with chance 0.1 %).
    AUC has no interval, and is 0.03 off on average at most.
    """
    classes = tuple(range(k))
    estimator = Estimator.from_json(fitted(made, 4000, classes).to_json())
    task = "binary_classification" if k == 2 else "multiclass_classification"
    inside = dict.fromkeys(("accuracy", "precision", "recall", "f1"), 0)
    errors: dict[str, list[float]] = {name: [] for name in (*inside, "roc_auc")}
    for seed in range(200):
        truth, outputs = made(500, seed, (seed % 9 - 4) / 4)
        found = estimator.estimates(NOTHING, outputs)
        real = evaluate(task, truth, outputs, classes)  # type: ignore[arg-type]
        for name in inside:
            low, high = found[name].low, found[name].high
            assert low is not None and high is not None
            inside[name] += low <= real[name] <= high
        for name in errors:
            errors[name].append(found[name].value - real[name])
    assert min(inside.values()) >= 180, inside
    assert max(abs(np.mean(each)) for each in errors.values()) < 0.02
    assert np.abs(errors["roc_auc"]).mean() < 0.03
    assert np.abs(errors["accuracy"]).mean() < 0.02
    assert not found["roc_auc"].decides and found["accuracy"].decides


@pytest.mark.parametrize("k", [2, 3])
def test_certain_chances_give_the_metrics_themselves(k: int) -> None:
    random = np.random.default_rng(0)
    truth, prediction = random.integers(k, size=(2, 400))
    found = class_estimates(np.eye(k)[truth], prediction, np.zeros((k, k)))
    average = "binary" if k == 2 else "macro"
    assert {name: each.value for name, each in found.items()} == {
        "accuracy": pytest.approx(accuracy_score(truth, prediction)),
        "precision": pytest.approx(precision_score(truth, prediction, average=average)),
        "recall": pytest.approx(recall_score(truth, prediction, average=average)),
        "f1": pytest.approx(f1_score(truth, prediction, average=average)),
    }
    assert all(each.low == pytest.approx(each.value) for each in found.values())


def test_certain_chances_give_the_auc_itself() -> None:
    truth, outputs = binary(400, 0)
    sure = fit_estimator(pd.DataFrame(index=range(2)), (), [0, 1], two(0.0, 1.0), (0, 1))
    assert outputs.score is not None
    # Where each row counts as what it is, ties and all.
    rounded = np.round(outputs.score, 1)
    from mlops_pipelines.measure.estimate import estimated_auc

    assert estimated_auc(truth.astype(float), rounded) == pytest.approx(
        roc_auc_score(truth, rounded)
    )
    assert estimated_auc(np.ones(3), np.arange(3.0)) is None
    assert "roc_auc" not in sure.estimates(NOTHING, two(1.0, 1.0))


def two(*scores: float) -> Outputs:
    score = np.array(scores)
    return Outputs((score > 0.5).astype(int), score)


def test_a_model_without_probabilities() -> None:
    """What is right of each predicted class on the holdout is what is expected of it."""
    prediction = np.repeat([0, 1], 500)
    truth = np.r_[np.arange(500) < 50, np.arange(500) < 400].astype(int)
    found = fit_estimator(
        pd.DataFrame(index=range(1000)), (), truth, Outputs(prediction), (0, 1)
    ).estimates(NOTHING, Outputs(np.repeat([0, 1], [300, 100])))
    assert found["accuracy"].value == pytest.approx((300 * 0.9 + 100 * 0.8) / 400)


def test_answers_that_are_none_of_the_version() -> None:
    estimator = fitted(binary, 200, (0, 1))
    with pytest.raises(DataError, match="1 answers lack the probabilities"):
        estimator.estimates(NOTHING, Outputs(np.array([1])))
    with pytest.raises(DataError, match="among the 2 classes"):
        estimator.estimates(NOTHING, Outputs(np.array(["1"], dtype=object), np.array([0.9])))
    assert estimator.estimates(NOTHING, Outputs(np.array([]), np.array([]))) == {}
    with pytest.raises(DataError, match="the holdout has no rows"):
        fit_estimator(NOTHING, (), [], Outputs(np.array([])), (0, 1))


def regression(n: int, seed: int, shift: float = 0.0) -> tuple[pd.DataFrame, np.ndarray, Outputs]:
    """Noise grows with x and on Sundays; the prediction is right on average."""
    random = np.random.default_rng(seed)
    x = random.normal(shift, 1, n)
    day = random.choice(["sun", "mon", None], n)
    scale = np.exp(0.4 * x) * np.where(day == "sun", 2.0, 1.0)
    prediction = 3 * x
    truth = prediction + scale * random.normal(size=n)
    return pd.DataFrame({"x": x, "day": day}), truth, Outputs(prediction, prediction)


def test_regression_under_covariate_shift() -> None:
    """Of 100 windows of 500 rows the realised mae and rmse lie in the interval: 88 at least.

    Nominally 95 %; fewer than 88 would come with chance 0.4 % were it so. Without the estimate the
    holdout's mae is four times as far off.
    """
    frame, truth, outputs = regression(4000, 1000)
    reference = reference_profile(
        frame, [Column("x", "numeric"), Column("day", "categorical")]
    ).columns
    estimator = fit_estimator(frame, reference, truth, outputs, ())
    estimator = Estimator.from_json(estimator.to_json())
    before = evaluate("regression", truth, outputs, ())["mae"]
    inside = {"mae": 0, "rmse": 0}
    off, naive = [], []
    for seed in range(100):
        rows, actual, answers = regression(500, seed, (seed % 5 - 2) / 4)
        found = estimator.estimates(rows, answers)
        real = evaluate("regression", actual, answers, ())
        for name in inside:
            low, high = found[name].low, found[name].high
            assert low is not None and high is not None
            inside[name] += low <= real[name] <= high
        off.append(abs(found["mae"].value - real["mae"]))
        naive.append(abs(before - real["mae"]))
    assert min(inside.values()) >= 88, inside
    assert np.mean(off) < 0.4 * np.mean(naive)
    assert len(estimator.to_json()) < 20_000


def test_a_loss_that_no_column_tells_of_is_its_mean() -> None:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({f"x{i}": random.normal(size=300) for i in range(40)})
    truth = random.normal(size=300)
    reference = reference_profile(frame, [Column(name, "numeric") for name in frame]).columns
    estimator = fit_estimator(frame, reference, truth, Outputs(np.zeros(300), np.zeros(300)), ())
    assert estimator.absolute is not None
    found = estimator.absolute(frame)
    assert found.std() < 0.15 * found.mean()


def test_the_error_of_estimates_widens_and_moves_them() -> None:
    found = Estimate("accuracy", 0.9, 0.87, 0.93, 500).with_error(-0.02, 0.04 / 1.959964, 1.0)
    assert (found.value, found.low, found.high) == pytest.approx((0.88, 0.83, 0.93))
    capped = Estimate("accuracy", 0.99, 0.98, 1.0, 500).with_error(0.05, 0.0, 1.0)
    assert (capped.value, capped.high) == (1.0, 1.0)
    shown = Estimate("roc_auc", 0.9, None, None, 500)
    assert shown.with_error(0.1, 0.1) is shown


def test_paired_losses() -> None:
    """The smaller loss is clearly better, equal ones are not, and an error of the estimates counts.

    Of 200 pairs without a difference about 2.5 % may seem clearly better: at most 12 (1 in 500).
    """
    random = np.random.default_rng(0)
    loss = random.random(5000)
    found = paired_losses(loss * 0.9, loss, seed=0)
    assert found.clearly_better and found.improvement == pytest.approx(0.1 * loss.mean())
    assert (found.a, found.b) == pytest.approx((0.9 * loss.mean(), loss.mean()))
    assert not paired_losses(loss * 0.9, loss, 0.05, seed=0).clearly_better
    assert paired_losses(loss, loss, seed=0).improvement == 0
    lucky = sum(
        paired_losses(
            random.random(100), random.random(100), n_resamples=200, seed=s
        ).clearly_better
        for s in range(200)
    )
    assert lucky <= 12
