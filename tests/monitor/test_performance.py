"""What labelled rows show of a version, alone and beside the previous one on the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from mlops_pipelines.monitor.performance import assess
from mlops_pipelines.monitor.usual import Usual
from mlops_pipelines.serve.bundle import Bundle, Column
from mlops_pipelines.serve.predictor import Predictor
from mlops_pipelines.serve.sklearn_model import SklearnModel

LABELS = ("good", "bad")  # the classes in order are bad, good
BASELINE = {"roc_auc": 0.99, "accuracy": 0.95, "rmse": 1.0}


class Formula(BaseEstimator):
    """An estimator that is a formula of the columns."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.answer(frame)


class Shares(Formula):
    """A classifier whose `answer` gives the probabilities."""

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return self.answer(frame)

    def predict(self, frame: pd.DataFrame) -> Any:
        return np.asarray(self.classes_)[self.answer(frame).argmax(axis=1)]


def predictor(answer: Any, classes: Any = None, columns: tuple[str, ...] = ("x",)) -> Predictor:
    estimator = Formula(answer) if classes is None else Shares(answer)
    estimator.classes_ = classes
    task = "regression" if classes is None else "binary_classification"
    if classes is not None and len(classes) > 2:
        task = "multiclass_classification"
    meta = Bundle(
        path=Path("bundle"),
        model="churn",
        version=2,
        task=task,
        columns=tuple(Column(name, "double", False) for name in columns),
        target="churned",
        classes=classes,
        positive=classes[1] if classes is not None and len(classes) == 2 else None,
        trusted_types=(),
        run_id="",
        snapshot="",
        digest="",
    )
    golden = {"rows": [], "predictions": [], "scores": []}
    return Predictor(meta, SklearnModel(meta, estimator), golden)


def day(n: int, seed: int, noise: float, version: int = 3) -> pd.DataFrame:
    """Binary rows: the truth is the sign of x, the version sees x through noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    score = 1 / (1 + np.exp(-4 * (x + noise * rng.normal(size=n))))
    return pd.DataFrame(
        {
            "prediction_id": [f"p{version}-{i}" for i in range(n)],
            "predicted_at": pd.Timestamp("2026-03-01", tz="UTC"),
            "model_version": version,
            "prediction": np.where(score > 0.5, "good", "bad"),
            "score": score,
            "probabilities": [np.array([1 - s, s]) for s in score],
            "x": x,
            "site": np.where(rng.random(n) < 0.3, "north", "south"),
            "label": np.where(x > 0, "good", "bad"),
        }
    )


def knows_x(frame: pd.DataFrame) -> Any:
    good = 1 / (1 + np.exp(-4 * frame["x"].to_numpy()))
    return np.column_stack([1 - good, good])


def test_a_good_day_is_ok(make_spec: Any) -> None:
    found = assess(make_spec(), day(300, 0, 0.1), 3, BASELINE)
    assert (found.status, found.labelled, found.metric) == ("ok", 300, "roc_auc")
    assert found.limit == pytest.approx(0.94)
    assert found.interval is not None and found.value is not None
    assert found.interval.low < found.value < found.interval.high
    assert found.metrics()["roc_auc"] == found.value
    assert found.metrics()["labelled"] == 300
    assert len(found.worst) == 20
    assert found.worst["loss"].is_monotonic_decreasing
    assert "0.99 on the holdout, limit 0.94" in found.sentence
    json.dumps(found.evidence())


def test_a_fall_alarms_and_the_previous_version_did_better(make_spec: Any) -> None:
    previous = predictor(knows_x, ("bad", "good"))
    found = assess(make_spec(), day(300, 0, 2.0), 3, BASELINE, previous, 2)
    assert found.status == "alarm"
    assert found.previous_clearly_better
    assert found.previous_difference is not None
    assert found.previous_difference.a == 1.0
    assert found.sentence.count("\n") == 0
    assert "version 2 is clearly better on the same rows: 1, by" in found.sentence
    assert found.evidence()["previous"] == 2
    assert found.metrics()["previous_improvement"] > 0.2


def test_a_fall_that_the_world_made_is_no_fault_of_the_version(make_spec: Any) -> None:
    rows = day(300, 0, 2.0)
    coin = predictor(lambda frame: np.full((len(frame), 2), 0.5), ("bad", "good"))
    found = assess(make_spec(), rows, 3, BASELINE, coin, 2)
    assert (found.status, found.previous_clearly_better) == ("alarm", False)
    assert "version 2 is not clearly better" in found.sentence


def test_what_the_version_usually_does_is_evidence(make_spec: Any) -> None:
    """A fall that stands out from its rows does not from nights that differ as much by nature."""
    rows = day(300, 0, 0.85)
    alone = assess(make_spec(), rows, 3, BASELINE)
    assert alone.status == "alarm"
    wild = Usual(30, 0.95, 0.05)
    found = assess(make_spec(), rows, 3, BASELINE, earlier=wild)
    assert (found.value, found.status) == (alone.value, "ok")
    assert "; 0.95 on average of 30 earlier nights" in found.sentence
    said = found.evidence()
    assert (said["usual"], said["usual_deviation"], said["usual_nights"]) == (0.95, 0.05, 30)


def test_rows_of_several_days_are_said(make_spec: Any) -> None:
    found = assess(make_spec(), day(48, 0, 0.1), 3, BASELINE, days=2)
    assert "on 48 labelled rows of 2 days together; " in found.sentence
    assert found.metrics()["days_together"] == 2
    assert "days_together" not in assess(make_spec(), day(48, 0, 0.1), 3, BASELINE).metrics()


def test_a_fall_that_few_rows_cannot_show_is_ok(make_spec: Any) -> None:
    """Below the limit, but the interval includes the baseline."""
    rows = day(40, 4, 0.0)
    wrong = rows["x"].abs().nlargest(1).index
    rows.loc[wrong, "score"] = 1 - rows.loc[wrong, "score"]
    found = assess(make_spec(), rows, 3, {"roc_auc": 0.985}, None, None)
    assert found.value is not None and found.limit is not None and found.interval is not None
    assert found.interval.high > 0.985
    assert found.status == "ok"


FEW = {
    "below min_rows": (day(29, 0, 0.1), "29 labelled rows; 30 are needed to judge"),
    "no row of the version": (day(99, 0, 0.1, version=2), "0 labelled rows; 30 are needed"),
    "one class": (day(99, 0, 0.1).assign(label="good"), "99 labelled rows, all of one class"),
    "labels of other classes": (
        day(99, 0, 0.1).assign(label="maybe"),
        "0 labelled rows; 30 are needed to judge; 99 labels left out",
    ),
    "no scores": (day(99, 0, 0.1).assign(score=np.nan, probabilities=None), "99 labelled rows: "),
}


@pytest.mark.parametrize("case", FEW)
def test_too_little_to_judge_is_said(make_spec: Any, case: str) -> None:
    rows, sentence = FEW[case]
    previous = predictor(knows_x, ("bad", "good"))
    found = assess(make_spec(), rows, 3, BASELINE, previous, 2, classes=("bad", "good"))
    assert (found.status, found.value, found.previous_clearly_better) == (
        "insufficient_data",
        None,
        False,
    )
    assert found.sentence.startswith(sentence)
    assert found.markdown() and found.worst_markdown() and found.evidence()


def test_no_rows_at_all(make_spec: Any) -> None:
    found = assess(make_spec(), day(9, 0, 0.1).iloc[:0], 3, BASELINE)
    assert (found.status, found.labelled, len(found.worst)) == ("insufficient_data", 0, 0)
    assert found.metrics() == {"labelled": 0.0, "roc_auc_baseline": 0.99}


def test_a_version_without_a_baseline_is_not_judged(make_spec: Any) -> None:
    found = assess(make_spec(), day(99, 0, 2.0), 3, {})
    assert (found.status, found.baseline, found.limit) == ("insufficient_data", None, None)
    assert found.sentence == "version 3 has no roc_auc on its holdout to compare with"


INCOMPARABLE = {
    "columns": (
        predictor(knows_x, ("bad", "good"), ("x", "fee")),
        "version 2 cannot be compared: the log lacks its columns fee",
    ),
    "classes": (
        predictor(knows_x, ("0", "1")),
        "version 2 cannot be compared: its classes are other ones",
    ),
    "an error": (
        predictor(lambda frame: frame["y"], ("bad", "good")),
        "version 2 cannot be compared: it raised ModelError on these rows",
    ),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_a_previous_version_that_cannot_be_compared(make_spec: Any, case: str) -> None:
    previous, sentence = INCOMPARABLE[case]
    found = assess(make_spec(), day(99, 0, 2.0), 3, BASELINE, previous, 2)
    assert (found.status, found.previous_difference) == ("alarm", None)
    assert found.sentence.endswith(sentence)


def test_each_version_and_each_slice(make_spec: Any) -> None:
    rows = pd.concat([day(200, 0, 0.1), day(60, 1, 2.0, version=2)], ignore_index=True)
    spec = make_spec(data={"segments": ["site", "not_logged"]})
    found = assess(spec, rows, 3, BASELINE)
    assert list(found.versions) == [2, 3]
    assert found.labelled == 200
    assert found.versions[2]["roc_auc"] < found.versions[3]["roc_auc"]
    assert [(part.segment, part.value) for part in found.slices] == [
        ("site", "north"),
        ("site", "south"),
    ]
    assert sum(part.n for part in found.slices) == 200
    assert "| site = north |" in found.markdown()


def test_the_positive_class_is_the_declared_one(make_spec: Any) -> None:
    rows = day(300, 0, 0.5)
    flipped = rows.assign(score=1 - rows["score"])
    one = assess(make_spec(), rows, 3, BASELINE)
    other = assess(make_spec(data={"positive": "bad"}), flipped, 3, BASELINE)
    assert other.value == pytest.approx(one.value)
    assert other.versions[3]["log_loss"] == pytest.approx(one.versions[3]["log_loss"])
    assert other.versions[3]["recall"] != one.versions[3]["recall"]


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ((0, 1), [0.0, 1.0]),
        ((0, 1), ["0", "1"]),
        ((False, True), ["false", "True"]),
        ((False, True), [0, 1]),
        (("0", "1"), [0, 1]),
    ],
)
def test_labels_mean_their_class_however_they_were_written(
    make_spec: Any, classes: Any, labels: Any
) -> None:
    rows = day(99, 0, 0.1)
    good = (rows["label"] == "good").to_numpy().astype(int)
    rows["prediction"] = [classes[i] for i in good]
    rows["label"] = pd.Series([labels[i] for i in good], dtype=object)
    for told in (classes, None):
        found = assess(make_spec(), rows, 3, BASELINE, classes=told)
        assert (found.labelled, found.versions[3]["accuracy"]) == (99, 1.0)


def test_a_third_label_is_left_out(make_spec: Any) -> None:
    rows = day(99, 0, 0.1)
    rows.loc[:8, "label"] = "maybe"
    found = assess(make_spec(), rows, 3, BASELINE)
    assert (found.status, found.labelled) == ("ok", 90)
    assert found.sentence.endswith(
        "; 9 labels left out: they are none of the classes, or no numbers"
    )


def test_labels_of_more_classes_than_two_are_not_judged(make_spec: Any) -> None:
    rows = day(99, 0, 0.1).assign(prediction="good")
    rows.loc[:8, "label"] = "maybe"
    found = assess(make_spec(), rows, 3, BASELINE)
    assert found.status == "insufficient_data"
    assert found.sentence == "99 labelled rows of 3 classes; two were expected"


def test_regression(make_spec: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=200) * 10
    rows = pd.DataFrame(
        {
            "prediction_id": [f"p{i}" for i in range(200)],
            "predicted_at": pd.Timestamp("2026-03-01", tz="UTC"),
            "model_version": 3,
            "prediction": 2 * x + rng.normal(size=200) * 3,
            "score": np.nan,
            "probabilities": None,
            "x": x,
            "label": [None if i == 0 else 2 * v for i, v in enumerate(x)],
        }
    )
    spec = make_spec("regression", react={"rollback": {"drop": 0.5}})
    found = assess(spec, rows, 3, BASELINE, predictor(lambda frame: 2 * frame["x"]), 2)
    assert (found.status, found.metric, found.labelled) == ("alarm", "rmse", 199)
    assert (found.baseline, found.limit) == (1.0, 1.5)
    assert found.value == pytest.approx(3, rel=0.15)
    assert found.previous_clearly_better
    assert "1 labels left out" in found.sentence
    fine = assess(spec, rows, 3, {"rmse": 2.9})
    assert fine.status == "ok"


def test_multiclass_with_a_class_that_did_not_come_up(make_spec: Any) -> None:
    rng = np.random.default_rng(0)
    classes = ("a", "b", "c")
    shares = rng.dirichlet([1, 1, 0.05], 200)
    truth = np.array(classes)[np.where(shares[:, 0] > shares[:, 1], 0, 1)]
    rows = pd.DataFrame(
        {
            "prediction_id": [f"p{i}" for i in range(200)],
            "predicted_at": pd.Timestamp("2026-03-01", tz="UTC"),
            "model_version": 3,
            "prediction": np.array(classes)[shares.argmax(axis=1)],
            "score": shares.max(axis=1),
            "probabilities": list(shares),
            "x": shares[:, 0],
            "label": truth,
        }
    )
    previous = predictor(
        lambda frame: np.column_stack([frame["x"], 1 - frame["x"], np.zeros(len(frame))]), classes
    )
    spec = make_spec("multiclass_classification")
    found = assess(spec, rows, 3, BASELINE, previous, 2)
    assert (found.status, found.metric) == ("ok", "accuracy")
    assert "log_loss" in found.versions[3]
    assert found.previous_difference is not None
    alone = assess(spec, rows[rows["prediction"] != "c"], 3, BASELINE)
    assert alone.labelled > 100


def test_unchanged_performance_rarely_alarms(make_spec: Any) -> None:
    """Days as good as the holdout: an alarm takes a fall of 0.05 and the interval (2.5 %).

    Of 60 days none may: accuracy 0.9 on 200 rows falls below 0.85 with a chance of 1 in 80, so at
    most 4 are allowed (1 in 1,000); the seed is fixed.
    """
    spec = make_spec(react={"rollback": {"metric": "accuracy"}})
    days = []
    for seed in range(60):
        rows = day(200, seed, 0.0)
        wrong = np.random.default_rng(seed).random(200) < 0.1
        other = np.where(rows["prediction"] == "good", "bad", "good")
        rows["prediction"] = np.where(wrong, other, rows["prediction"])
        days.append(assess(spec, rows, 3, {"accuracy": 0.9}).status)
    assert days.count("alarm") <= 4
