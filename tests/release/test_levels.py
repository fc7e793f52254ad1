from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.release.levels import closed_levels
from mlops_pipelines.serve.bundle import Bundle, Column
from mlops_pipelines.serve.sklearn_model import SklearnModel

COLUMNS = (
    Column("plan", "string", False),
    Column("floor", "long", False),
    Column("area", "double", False),
)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "plan": pd.array(rng.choice(["free", "gold"], 60), dtype="str"),
            "floor": rng.integers(0, 4, 60),
            "area": rng.normal(size=60),
        }
    )


def model(rows: pd.DataFrame, unknown: str, encoded: list[str]) -> SklearnModel:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder: Any = OneHotEncoder(handle_unknown=unknown)
    pipeline = make_pipeline(
        make_column_transformer((encoder, encoded), remainder="drop"), Ridge()
    ).fit(rows, rows["area"])
    return SklearnModel(meta(), pipeline)


def meta() -> Bundle:
    return Bundle(
        Path("unused"), "m", 1, "regression", COLUMNS, "y", None, None, (), "run", "snapshot", ""
    )


def test_a_model_that_refuses_unknown_categories_says_which_it_knows(rows: pd.DataFrame) -> None:
    both = model(rows, "error", ["plan", "floor"])
    assert closed_levels(both, meta(), rows) == {"plan": ["free", "gold"], "floor": [0, 1, 2, 3]}
    assert closed_levels(model(rows, "error", ["plan"]), meta(), rows) == {"plan": ["free", "gold"]}


def test_a_model_that_takes_any_category_has_no_levels(rows: pd.DataFrame) -> None:
    assert closed_levels(model(rows, "ignore", ["plan", "floor"]), meta(), rows) == {}


def test_a_column_with_too_many_values_is_no_category(rows: pd.DataFrame) -> None:
    many = pd.concat([rows] * 20, ignore_index=True).assign(floor=range(1200))
    encoded = model(many, "error", ["plan", "floor"])
    assert closed_levels(encoded, meta(), many) == {"plan": ["free", "gold"]}
