"""Two real data sets, from file to fitted model."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.quality import check_rows, learn_suite
from mlops_pipelines.train.snapshot import freeze, read_rows, recompute_digest
from mlops_pipelines.train.source import describe, load_rows

CASES: list[tuple[str, dict[str, Any], str, float]] = [
    (
        "bike_sharing",
        {
            "task": "regression",
            "data": {
                "target": "cnt",
                "event_time": "event_time",
                "drop": ["casual", "registered", "instant"],
            },
            "estimator": {
                "python": "sklearn.ensemble:HistGradientBoostingRegressor",
                "params": {"max_iter": 60},
            },
        },
        "r2",
        0.6,
    ),
    (
        "bank_marketing",
        {
            "task": "binary_classification",
            "data": {"target": "y", "event_time": "contact_month"},
            "estimator": {
                "python": "sklearn.linear_model:LogisticRegression",
                "params": {"max_iter": 500},
                "balance": "weights",
            },
        },
        "roc_auc",
        0.5,
    ),
]


@pytest.mark.parametrize(("name", "declared", "metric", "least"), CASES)
def test_from_file_to_fitted_model(
    tmp_path: Path, name: str, declared: dict[str, Any], metric: str, least: float
) -> None:
    place = os.environ.get("MLOPS_REAL_DATA")
    if not place:
        pytest.skip("MLOPS_REAL_DATA names no folder of real data")
    shutil.copyfile(Path(place) / f"{name}.parquet", tmp_path / f"{name}.parquet")
    declared = {
        "name": name,
        "task": declared["task"],
        "data": {**declared["data"], "source": {"parquet": f"{name}.parquet"}},
        "estimator": {**declared["estimator"], "cross_validation": 2},
    }
    spec = ModelSpec.model_validate(declared)
    folder = tmp_path / "assets" / name
    folder.mkdir(parents=True)
    frame = load_rows(spec.data.source, tmp_path, folder)
    store = Store(str(tmp_path / "store"))
    snapshot = freeze(frame, spec, store, describe(spec.data.source))
    assert recompute_digest(store, snapshot) == snapshot.digest
    rows = read_rows(store, snapshot)
    assert check_rows(rows.train, learn_suite(rows.train, snapshot)).passed
    fitted = fit(spec, snapshot, rows.train, rows.holdout, tmp_path, folder)
    assert fitted.metrics[metric] > least
