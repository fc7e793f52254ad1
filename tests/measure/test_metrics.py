"""Metrics agree with scikit-learn's, and say nothing where they are undefined."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.metrics import (
    BINARY,
    METRICS,
    MULTICLASS,
    REGRESSION,
    better,
    default_metric,
    evaluate,
    per_row_loss,
)
from mlops_pipelines.measure.outputs import Outputs, positive_last


def binary(seed: int, n: int, *, ties: bool) -> tuple[np.ndarray, Outputs]:
    rng = np.random.default_rng(seed)
    truth = np.r_[0, 1, rng.integers(2, size=n - 2)]
    score = rng.random(n)
    score = np.round(score, 1) if ties else score
    return truth, Outputs((score > 0.5).astype(int), score, np.column_stack([1 - score, score]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 80), st.booleans())
def test_binary_metrics_agree_with_scikit_learn(seed: int, n: int, ties: bool) -> None:
    truth, outputs = binary(seed, n, ties=ties)
    found = evaluate(BINARY, truth, outputs, [0, 1])
    found.pop("calibration_error")
    assert outputs.score is not None
    assert found == pytest.approx(
        {
            "accuracy": reference.accuracy_score(truth, outputs.prediction),
            "precision": reference.precision_score(truth, outputs.prediction, zero_division=0),
            "recall": reference.recall_score(truth, outputs.prediction),
            "f1": reference.f1_score(truth, outputs.prediction),
            "roc_auc": reference.roc_auc_score(truth, outputs.score),
            "average_precision": reference.average_precision_score(truth, outputs.score),
            "log_loss": reference.log_loss(truth, outputs.score),
            "brier": reference.brier_score_loss(truth, outputs.score),
        }
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 60), st.integers(3, 5))
def test_multiclass_metrics_agree_with_scikit_learn(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.r_[np.arange(k), rng.integers(k, size=n)]
    probabilities = rng.dirichlet(np.ones(k), size=len(truth))
    prediction = probabilities.argmax(axis=1)
    outputs = Outputs(prediction, probabilities.max(axis=1), probabilities)
    found = evaluate(MULTICLASS, truth, outputs, list(range(k)))
    assert 0 <= found.pop("calibration_error") <= 1
    macro = {"average": "macro", "zero_division": 0}
    assert found == pytest.approx(
        {
            "accuracy": reference.accuracy_score(truth, prediction),
            "precision": reference.precision_score(truth, prediction, **macro),
            "recall": reference.recall_score(truth, prediction, **macro),
            "f1": reference.f1_score(truth, prediction, **macro),
            "roc_auc": reference.roc_auc_score(truth, probabilities, multi_class="ovr"),
            "log_loss": reference.log_loss(truth, probabilities),
        }
    )


def test_macro_metrics_pass_over_a_class_that_is_nowhere() -> None:
    truth, prediction = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 1])
    found = evaluate(MULTICLASS, truth, Outputs(prediction), [0, 1, 2, 3])
    assert found == pytest.approx(
        {
            "accuracy": 0.5,
            "precision": (1 + 1 / 3 + 0) / 3,
            "recall": (0.5 + 1 + 0) / 3,
            "f1": (2 / 3 + 0.5 + 0) / 3,
        }
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=40))
def test_regression_metrics_agree_with_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    truth, prediction = np.array(pairs).T
    found = evaluate(REGRESSION, truth, Outputs(prediction), [])
    expected = {
        "mae": reference.mean_absolute_error(truth, prediction),
        "rmse": reference.root_mean_squared_error(truth, prediction),
    }
    if np.ptp(truth) > 1e-3:
        expected["r2"] = reference.r2_score(truth, prediction)
    else:
        found.pop("r2", None)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_calibration_error_of_two_known_bins() -> None:
    score = np.r_[np.full(50, 0.2), np.full(50, 0.9)]
    truth = np.r_[np.repeat([1, 0], [20, 30]), np.repeat([1, 0], [40, 10])]
    found = evaluate(BINARY, truth, Outputs((score > 0.5).astype(int), score), [0, 1])
    assert found["calibration_error"] == pytest.approx((0.2 + 0.1) / 2)


@pytest.mark.parametrize(
    "classes", [("no", "yes"), (False, True), (0, 1), (0.0, 1.0), (7, 3), ("b", "a")]
)
def test_labels_may_be_of_any_type(classes: tuple[object, object]) -> None:
    truth, outputs = binary(3, 50, ties=True)
    labels = np.array(classes, dtype=object)
    named = Outputs(labels[outputs.prediction], outputs.score, outputs.probabilities)
    assert evaluate(BINARY, labels[truth], named, classes) == evaluate(
        BINARY, truth, outputs, [0, 1]
    )


def test_the_positive_class_may_come_first() -> None:
    truth, outputs = binary(4, 50, ties=False)
    assert outputs.probabilities is not None
    swapped = Outputs(outputs.prediction, outputs.score, outputs.probabilities[:, ::-1])
    assert evaluate(BINARY, truth, swapped, [1, 0], positive=1) == evaluate(
        BINARY, truth, outputs, [0, 1]
    )
    assert positive_last(["bad", "good"], "bad") == ("good", "bad")


def test_booleans_and_integers_are_the_same_labels() -> None:
    truth, outputs = binary(5, 50, ties=False)
    assert evaluate(BINARY, truth.astype(bool), outputs, [0, 1]) == evaluate(
        BINARY, truth.astype(float), outputs, [False, True]
    )


@pytest.mark.parametrize(("truth", "left_out"), [(0, {"recall"}), (1, set())])
def test_one_class_leaves_out_what_is_undefined(truth: int, left_out: set[str]) -> None:
    outputs = Outputs(np.array([0, 1, 1]), np.array([0.2, 0.7, 0.9]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(BINARY, np.full(3, truth), outputs, [0, 1])
    every = {name for name, metric in METRICS.items() if BINARY in metric.tasks}
    assert set(found) == every - {"roc_auc", "average_precision"} - left_out
    assert np.isfinite(list(found.values())).all()


def test_no_rows_and_no_scores_leave_out_metrics() -> None:
    nothing = Outputs(np.array([], dtype=int), np.array([]))
    assert evaluate(BINARY, np.array([], dtype=int), nothing, [0, 1]) == {}
    labels_only = evaluate(BINARY, np.array([0, 1]), Outputs(np.array([0, 1])), [0, 1])
    assert labels_only == {"accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    constant = evaluate(REGRESSION, np.full(5, 0.1), Outputs(np.full(5, 0.4)), [])
    assert constant == pytest.approx({"mae": 0.3, "rmse": 0.3})


@pytest.mark.parametrize(
    ("truth", "outputs", "classes", "message"),
    [
        ([0, 1], Outputs(np.array([0])), [0, 1], "truth: 2 rows beside 1 predictions"),
        (
            ["a", None, "c"],
            Outputs(np.array(["a", "b", "a"])),
            ["a", "b"],
            (
                "truth: 2 of 3 rows hold no label or one that is not among the 2 classes of the "
                "model; leave these rows out or retrain"
            ),
        ),
        (
            [0, 1],
            Outputs(np.array([0, 1]), np.array([0.5, np.nan])),
            [0, 1],
            "score: 1 of 2 numbers are missing or not finite",
        ),
        (
            [0, 1],
            Outputs(np.array([0, 1]), np.array([-2.0, 3.0])),
            [0, 1],
            "score: 2 of 2 lie outside 0 to 1; expected P(class)",
        ),
        (
            [0, 1],
            Outputs(np.array([0, 1]), None, np.ones((2, 3))),
            [0, 1],
            "probabilities: expected shape (2, 2), found (2, 3)",
        ),
        (
            [0, 1],
            Outputs(np.array([0, 1])),
            [0, 1, 2],
            "binary_classification: a target of 3 classes; declare the task that fits",
        ),
    ],
)
def test_mistakes_are_one_clear_line(
    truth: list[object], outputs: Outputs, classes: list[object], message: str
) -> None:
    with pytest.raises(DataError) as error:
        evaluate(BINARY, np.array(truth, dtype=object), outputs, classes)
    assert str(error.value) == message


def test_text_for_numbers_is_one_clear_line() -> None:
    with pytest.raises(DataError, match=r"^truth: expected numbers, found object$"):
        evaluate(REGRESSION, np.array(["a"], dtype=object), Outputs(np.array([1.0])), [])
    with pytest.raises(DataError, match=r"^positive: expected one of the 2 classes"):
        positive_last([0, 1], "yes")


def test_row_loss_means_to_the_metric() -> None:
    truth, outputs = binary(6, 60, ties=False)
    values = evaluate(BINARY, truth, outputs, [0, 1])
    assert per_row_loss(BINARY, truth, outputs, [0, 1]).mean() == pytest.approx(values["log_loss"])
    labels_only = per_row_loss(BINARY, truth, Outputs(outputs.prediction), [0, 1])
    assert labels_only.mean() == pytest.approx(1 - values["accuracy"])
    errors = per_row_loss(REGRESSION, np.array([1.0, 2.0]), Outputs(np.array([3.0, 2.0])), [])
    assert errors.tolist() == [2.0, 0.0]


def test_better_reads_the_same_for_every_metric() -> None:
    assert better("roc_auc", 0.9, 0.8) == pytest.approx(0.1)
    assert better("rmse", 2.0, 3.0) == pytest.approx(1.0)
    for task in (BINARY, MULTICLASS, REGRESSION):
        assert task in METRICS[default_metric(task)].tasks
