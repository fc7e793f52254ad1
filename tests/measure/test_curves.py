"""Points of the pictures agree with the metrics they illustrate."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.curves import calibration_curve, confusion_matrix, roc_curve
from mlops_pipelines.measure.metrics import BINARY, evaluate
from mlops_pipelines.measure.outputs import Outputs


@pytest.fixture(params=[1, 8], ids=["ties", "no ties"])
def judged(request: pytest.FixtureRequest) -> tuple[np.ndarray, Outputs]:
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=300)
    score = (1 / (1 + np.exp(-(truth + rng.normal(size=300))))).round(request.param)
    return truth, Outputs((score > 0.5).astype(int), score)


def test_the_roc_curve_encloses_the_metric(judged: tuple[np.ndarray, Outputs]) -> None:
    truth, outputs = judged
    curve = roc_curve(truth, outputs, [0, 1])
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(evaluate(BINARY, truth, outputs, [0, 1])["roc_auc"])
    assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)
    assert (np.diff(curve.threshold) < 0).all()
    for rate, threshold in zip(curve.true_positive_rate, curve.threshold, strict=True):
        assert rate == pytest.approx((outputs.score[truth == 1] >= threshold).mean())


def test_each_class_of_several_has_its_roc_curve() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(3, size=200)
    probabilities = rng.dirichlet(np.ones(3), size=200)
    outputs = Outputs(probabilities.argmax(axis=1), probabilities.max(axis=1), probabilities)
    for label in range(3):
        curve = roc_curve(truth, outputs, [0, 1, 2], of=label)
        area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
        expected = reference.roc_auc_score(truth == label, probabilities[:, label])
        assert area == pytest.approx(expected)


def test_the_calibration_curve_lies_as_far_off_as_the_metric(
    judged: tuple[np.ndarray, Outputs],
) -> None:
    truth, outputs = judged
    curve = calibration_curve(truth, outputs, [0, 1])
    off = (np.abs(curve.claimed - curve.observed) * curve.n).sum() / curve.n.sum()
    assert off == pytest.approx(evaluate(BINARY, truth, outputs, [0, 1])["calibration_error"])
    assert curve.n.sum() == 300
    assert len(curve.n) <= 10


def test_the_confusion_matrix_counts_by_truth_and_prediction() -> None:
    truth = np.array(["a", "b", "b", "c"])
    outputs = Outputs(np.array(["a", "b", "a", "b"]))
    matrix = confusion_matrix(truth, outputs, ["a", "b", "c"])
    assert matrix.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_what_cannot_be_drawn_is_one_clear_line() -> None:
    truth, labels = np.zeros(3, dtype=int), np.zeros(3, dtype=int)
    with pytest.raises(DataError, match=r"^roc_curve: 0 of 3 rows are of the class$"):
        roc_curve(truth, Outputs(labels, np.full(3, 0.5)), [0, 1])
    with pytest.raises(DataError, match=r"^roc_curve: the model gives no probabilities$"):
        roc_curve(truth, Outputs(labels), [0, 1])
    with pytest.raises(DataError, match=r"^calibration_curve: expected probabilities; 3 rows$"):
        calibration_curve(truth, Outputs(labels), [0, 1])
