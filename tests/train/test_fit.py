"""Fitting: every task, every kind of column, every way to balance, and the faults."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.errors import DataError
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.fit import Fitted, fit
from mlops_pipelines.train.overfit import judge_gap
from mlops_pipelines.train.pictures import pictures, png
from mlops_pipelines.train.snapshot import Snapshot, features, freeze, read_rows
from mlops_pipelines.train.source import load_rows
from tests.train.conftest import ROOT, example_spec, make_spec, mixed_frame

PIPELINE = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


class Numbers(TransformerMixin, BaseEstimator):
    def fit(self, rows, labels=None):
        self.n_ = len(rows)
        return self

    def transform(self, rows):
        return rows[["amount", "count"]].fillna(0).to_numpy()


def build(penalty=1.0, random_state=None):
    return make_pipeline(Numbers(), LogisticRegression(C=penalty, random_state=random_state))


def build_with_lambda():
    from sklearn.preprocessing import FunctionTransformer
    return make_pipeline(Numbers(), FunctionTransformer(lambda x: x), LogisticRegression())


def build_nothing():
    return 3


class Picky(LogisticRegression):
    def fit(self, rows, labels, sample_weight=None):
        raise ValueError("could not convert string to float: 'secret-row-value'")
"""


def train(
    frame: pd.DataFrame, spec: ModelSpec, root: Path, **asked: Any
) -> tuple[Fitted, Snapshot, pd.DataFrame]:
    store = Store(str(root / "store"))
    snapshot = freeze(frame, spec, store, "csv x")
    rows = read_rows(store, snapshot)
    folder = root / "assets" / "demo"
    return (
        fit(spec, snapshot, rows.train, rows.holdout, root, folder, **asked),
        snapshot,
        rows.holdout,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "assets" / "demo"
    folder.mkdir(parents=True)
    (folder / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def mixed_spec(python: str, **more: Any) -> ModelSpec:
    return make_spec(estimator={"python": python, **more}, drop=("seen",))


@pytest.mark.parametrize(
    "python",
    [
        "sklearn.ensemble:HistGradientBoostingClassifier",
        "sklearn.ensemble:RandomForestClassifier",
        "sklearn.linear_model:LogisticRegression",
        "sklearn.neighbors:KNeighborsClassifier",
        "sklearn.naive_bayes:GaussianNB",
    ],
)
def test_any_classifier_takes_text_and_nulls(root: Path, python: str) -> None:
    fitted, snapshot, holdout = train(mixed_frame(), mixed_spec(python), root)
    assert fitted.metrics["roc_auc"] > 0.8
    assert fitted.outputs.probabilities is not None
    assert fitted.outputs.probabilities.shape == (snapshot.holdout_rows, 2)
    strange = features(holdout.assign(color="mauve", amount=None), snapshot)
    assert set(fitted.estimator.predict(strange)) <= {"no", "yes"}


def test_two_fits_are_the_same_to_the_last_bit(root: Path) -> None:
    spec = mixed_spec("sklearn.ensemble:RandomForestClassifier", cross_validation=3)
    (one, _, _), (two, _, _) = (train(mixed_frame(), spec, root) for _ in range(2))
    assert one.metrics == two.metrics
    assert one.cross_validation == two.cross_validation
    assert one.golden == two.golden
    assert one.params["random_state"] == 0


def test_a_model_file_loads_again_and_gives_the_golden_answers(root: Path) -> None:
    import skops.io

    spec = mixed_spec("sklearn.ensemble:HistGradientBoostingClassifier")
    fitted, snapshot, _ = train(mixed_frame(), spec, root)
    golden = json.loads(json.dumps(fitted.golden))
    again = skops.io.loads(skops.io.dumps(fitted.estimator), trusted=list(fitted.trusted_types))
    names = [column.name for column in snapshot.columns]
    rows = features(pd.DataFrame(golden["rows"], columns=names), snapshot)
    assert len(rows) == 20
    assert again.predict(rows).tolist() == golden["predictions"]
    assert again.predict_proba(rows)[:, 1].tolist() == golden["scores"]


def test_the_positive_class_may_be_the_smaller_label(root: Path) -> None:
    spec = make_spec(
        estimator={"python": "sklearn.linear_model:LogisticRegression"},
        drop=("seen",),
        positive="no",
    )
    fitted, snapshot, _ = train(mixed_frame(), spec, root)
    assert snapshot.positive == "no"
    assert fitted.outputs.score is not None
    assert fitted.outputs.probabilities is not None
    assert fitted.outputs.score.tolist() == fitted.outputs.probabilities[:, 0].tolist()
    assert fitted.metrics["roc_auc"] > 0.8


@pytest.mark.parametrize("dataset", ["load_iris", "load_wine"])
def test_multiclass(root: Path, dataset: str) -> None:
    import sklearn.datasets

    frame = getattr(sklearn.datasets, dataset)(as_frame=True).frame.rename(columns={"target": "y"})
    estimator = {"python": "sklearn.neural_network:MLPClassifier", "params": {"max_iter": 150}}
    spec = make_spec("multiclass_classification", {**estimator, "cross_validation": 2})
    fitted, snapshot, _ = train(frame, spec, root)
    assert snapshot.classes == (0, 1, 2)
    assert snapshot.positive is None
    assert fitted.metrics["accuracy"] > 0.8
    assert len(fitted.curves["train_loss"]) > 10
    assert set(fitted.cross_validation) == set(fitted.metrics)
    assert any("ConvergenceWarning" in sentence for sentence in fitted.warnings)
    drawn = pictures(snapshot.task, fitted.truth, fitted.outputs, snapshot.classes, fitted.curves)
    assert set(drawn) == {"confusion_matrix", "roc_curve", "calibration", "learning_curve"}
    assert all(png(figure).startswith(b"\x89PNG") for figure in drawn.values())


def test_regression_with_its_pictures(root: Path) -> None:
    spec = example_spec("diabetes")
    frame = load_rows(spec.data.source, ROOT, ROOT / "assets" / "diabetes")
    fitted, snapshot, _ = train(frame, spec, root)
    assert set(fitted.metrics) == {"mae", "rmse", "r2"}
    assert fitted.metrics["r2"] > 0.25
    assert fitted.overfit.overfit is False
    assert len(fitted.curves["train_loss"]) == 90
    drawn = pictures(snapshot.task, fitted.truth, fitted.outputs, None, fitted.curves)
    assert set(drawn) == {"predicted_against_true", "residuals", "learning_curve"}


def test_cost_and_progress_are_told(root: Path) -> None:
    told: list[tuple[str, float]] = []
    spec = mixed_spec("sklearn.tree:DecisionTreeClassifier", cross_validation=2)
    fitted, _, _ = train(
        mixed_frame(), spec, root, on_progress=lambda step, share: told.append((step, share))
    )
    assert fitted.seconds > 0
    assert fitted.cpu_seconds > 0
    assert fitted.peak_memory_mb > 10
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[-1] == ("fitted", 1.0)


def test_folds_roll_forward_in_time(root: Path) -> None:
    spec = make_spec(estimator={"cross_validation": 3}, event_time="seen")
    shuffled = mixed_frame().sample(frac=1, random_state=0)
    assert train(shuffled, spec, root)[0].cross_validation["accuracy"][0] > 0.5


def rare_frame() -> pd.DataFrame:
    frame = mixed_frame(1500)
    return frame.assign(y=np.where(frame["amount"].fillna(0) > 14, "yes", "no"))


@pytest.mark.parametrize(
    "python",
    [
        "sklearn.linear_model:LogisticRegression",
        "sklearn.ensemble:GradientBoostingClassifier",
        "pipeline:build",
    ],
)
def test_imbalance_is_seen_and_handled(root: Path, python: str) -> None:
    plain = train(rare_frame(), mixed_spec(python), root)[0]
    assert re.match(r"the rarest of 2 classes has \d\.\d% of the training rows", plain.warnings[0])
    assert plain.class_weights is None
    balanced = train(rare_frame(), mixed_spec(python, balance="weights"), root)[0]
    assert balanced.class_weights is not None
    assert balanced.class_weights["yes"] > 5 > balanced.class_weights["no"]
    assert balanced.metrics["recall"] >= plain.metrics["recall"]
    assert (balanced.outputs.prediction == "yes").sum() > (
        plain.outputs.prediction == "yes"
    ).sum() - 1


def test_a_pipeline_of_ones_own(root: Path) -> None:
    spec = mixed_spec("pipeline:build", params={"penalty": 0.5}, cross_validation=2)
    fitted, _, _ = train(mixed_frame(), spec, root)
    assert fitted.trusted_types == ("assets.demo.pipeline.Numbers",)
    assert fitted.params["C"] == 0.5
    assert fitted.params["estimator"] == "pipeline:build"


def test_another_estimator_for_one_launch(root: Path) -> None:
    spec = mixed_spec("sklearn.tree:DecisionTreeClassifier", params={"max_depth": 2})
    fitted, _, _ = train(mixed_frame(), spec, root, params={"max_depth": 3})
    assert fitted.params["max_depth"] == 3
    other, _, _ = train(mixed_frame(), spec, root, python="sklearn.naive_bayes:GaussianNB")
    assert other.params["estimator"] == "sklearn.naive_bayes:GaussianNB"


def test_no_scores_without_probabilities(root: Path) -> None:
    fitted, _, _ = train(mixed_frame(), mixed_spec("sklearn.svm:LinearSVC"), root)
    assert fitted.outputs.score is None
    assert fitted.golden["scores"] is None
    assert "roc_auc" not in fitted.metrics
    assert not fitted.overfit.overfit


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"python": "sklearn.tree:Nothing"}, "module 'sklearn.tree' has no 'Nothing'"),
    (
        {"python": "sklearn.tree:DecisionTreeClassifier", "params": {"deep": 3}},
        r"estimator.params do not fit \(.*'deep'\); allowed: criterion, .*max_depth",
    ),
    (
        {"python": "sklearn.tree:DecisionTreeClassifier", "params": {"max_depth": "deep"}},
        "raised InvalidParameterError while it was fitted or asked: The 'max_depth' parameter",
    ),
    ({"python": "sklearn.tree:DecisionTreeRegressor"}, "is a regressor; .* needs a classifier"),
    ({"python": "pipeline:build_nothing"}, "gave a int; an estimator with fit and predict"),
    ({"python": "pipeline:Picky"}, "pipeline:Picky: raised ValueError while it was fitted"),
    ({"python": "pipeline:build_with_lambda"}, "cannot be kept without pickle; lambdas"),
    (
        {"python": "sklearn.neighbors:KNeighborsClassifier", "balance": "weights"},
        "KNeighborsClassifier takes neither class_weight nor sample_weight",
    ),
]


@pytest.mark.parametrize(("estimator", "message"), FAULTS)
def test_each_fault_is_one_line(root: Path, estimator: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        train(mixed_frame(), mixed_spec(**estimator), root)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret-row-value" not in str(caught.value)


def test_balance_is_not_for_regression(root: Path) -> None:
    spec = make_spec(
        "regression",
        {"python": "sklearn.tree:DecisionTreeRegressor", "balance": "weights"},
        drop=("seen",),
    )
    frame = mixed_frame().assign(y=np.arange(400.0))
    with pytest.raises(DataError, match="balance is for classes"):
        train(frame, spec, root)


@pytest.mark.parametrize(
    ("metric", "seen", "held", "overfit"),
    [
        ("roc_auc", 1.0, 0.95, False),
        ("roc_auc", 1.0, 0.85, True),
        ("roc_auc", 0.8, 0.95, False),
        ("rmse", 10.0, 14.0, False),
        ("rmse", 10.0, 16.0, True),
        ("rmse", 0.0, 0.0, False),
        ("r2", 0.9, 0.75, False),
        ("r2", 0.9, 0.6, True),
        ("roc_auc", None, 0.9, False),
    ],
)
def test_overfit(metric: str, seen: float | None, held: float | None, overfit: bool) -> None:
    found = judge_gap(metric, seen, held)
    assert found.overfit is overfit
    assert metric in found.sentence
