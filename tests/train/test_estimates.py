"""What is learned of a version at training, in the cells of its reference profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_pipelines.measure.estimator import Estimator
from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.measure.profile import Column, Profile, reference_profile
from mlops_pipelines.store import Store
from mlops_pipelines.train.estimates import learn_estimator
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.snapshot import features, freeze, profile_columns, read_rows
from tests.train.conftest import make_spec, mixed_frame

TREE = {"params": {"max_depth": 4}}
TASKS: dict[str, dict[str, Any]] = {
    "binary_classification": {"estimator": TREE, "drop": ["seen", "color", "member"]},
    "multiclass_classification": {"estimator": TREE, "drop": ["seen", "y", "member"]},
    "regression": {
        "estimator": {"python": "sklearn.tree:DecisionTreeRegressor", **TREE},
        "drop": ["seen", "y", "color", "member"],
    },
}


def learned(task: str, tmp_path: Path, **data: Any) -> tuple[Any, ...]:
    target = {"multiclass_classification": "color", "regression": "amount"}.get(task, "y")
    told = TASKS[task]
    spec = make_spec(task, told["estimator"], target=target, drop=told["drop"], **data)
    frame = mixed_frame(1200).dropna(subset=["amount", "color"])
    store = Store(str(tmp_path / "store"))
    snapshot = freeze(frame, spec, store, "frame")
    rows = read_rows(store, snapshot)
    fitted = fit(spec, snapshot, rows.train, rows.holdout, tmp_path, tmp_path)
    known = reference_profile(rows.train, profile_columns(snapshot))
    scores = reference_profile(
        pd.DataFrame({"score": fitted.outputs.score}), [Column("score", "numeric")]
    )
    reference = Profile(known.n, (*known.columns, *scores.columns))
    found = learn_estimator(snapshot, rows.holdout, fitted, reference)
    return Estimator.from_json(found.to_json()), snapshot, rows, fitted, reference


@pytest.mark.parametrize("task", TASKS)
def test_the_holdout_is_estimated_as_it_was(task: str, tmp_path: Path) -> None:
    found, snapshot, rows, fitted, reference = learned(task, tmp_path)
    held = features(rows.holdout, snapshot)
    estimates = found.estimates(held, fitted.outputs)
    for name, each in estimates.items():
        if each.low is not None:
            assert each.low <= fitted.metrics[name] <= each.high, name
    assert found.rows == snapshot.holdout_rows
    assert set(found.loss_by_cell) == {column.name for column in reference.columns}
    for column in reference.columns:
        assert len(found.loss_by_cell[column.name]) == len(column.counts)


def test_the_positive_class_is_last_whichever_it_is(tmp_path: Path) -> None:
    found, _, rows, fitted, _ = learned("binary_classification", tmp_path, positive="no")
    assert found.classes == ("yes", "no")
    outputs: Outputs = fitted.outputs
    estimates = found.estimates(rows.holdout, outputs)
    assert estimates["recall"].value == pytest.approx(fitted.metrics["recall"], abs=0.05)
