"""Specs, frames and an MLflow database of which each test gets a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.located import read_documents
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry

ROOT = Path(__file__).resolve().parents[2]


def make_spec(
    task: str = "binary_classification",
    estimator: dict[str, Any] | None = None,
    **data: Any,
) -> ModelSpec:
    """The spec of a model `demo` whose target is `y`."""
    return ModelSpec.model_validate(
        {
            "name": "demo",
            "task": task,
            "data": {"source": {"csv": "data.csv"}, "target": "y", **data},
            "estimator": {
                "python": "sklearn.tree:DecisionTreeClassifier",
                "cross_validation": 0,
                **(estimator or {}),
            },
        }
    )


def example_spec(name: str) -> ModelSpec:
    """The spec that assets/<name>/defs.yaml declares."""
    document = read_documents(ROOT / "assets" / name / "defs.yaml", name)[0]
    return ModelSpec.model_validate(document.value["attributes"])


def mixed_frame(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Numbers with nulls, whole numbers, text with nulls, booleans, a time and a target `y`."""
    random = np.random.default_rng(seed)
    amount = random.normal(10, 3, rows)
    color = random.choice(["red", "green", "blue"], rows)
    odds = amount - 10 + 3 * (color == "red") + random.normal(0, 1, rows)
    return pd.DataFrame(
        {
            "amount": np.where(random.random(rows) < 0.1, np.nan, amount),
            "count": random.integers(0, 9, rows),
            "color": pd.Series(color, dtype="str").where(random.random(rows) > 0.05),
            "member": random.random(rows) < 0.5,
            "seen": pd.date_range("2026-01-01", periods=rows, freq="h"),
            "y": np.where(odds > 0, "yes", "no"),
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    assert Registry(f"sqlite:///{path}").models() == []
    return path


@pytest.fixture
def registry(tmp_path: Path, empty_database: Path) -> Registry:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"))
