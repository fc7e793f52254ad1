"""Populations that do not change, from which references and windows are drawn."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import ROOT
from mlops_pipelines.measure.profile import Column

REFERENCE_ROWS = 10_000

Draw = Callable[[int, np.random.Generator], pd.DataFrame]


@dataclass(frozen=True)
class Population:
    """Rows in any number, all of one distribution: `draw(rows, random)`."""

    name: str
    draw: Draw

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its columns: numbers in bins, all else by level."""
        rows = self.draw(50, np.random.default_rng(0))
        return tuple(
            Column(name, "numeric" if pd.api.types.is_numeric_dtype(rows[name]) else "categorical")
            for name in rows
        )


def names() -> list[str]:
    """All that can be had here; the real data only where MLOPS_REAL_DATA names their folder."""
    return [*_MADE, *(_REAL if os.environ.get("MLOPS_REAL_DATA") else ())]


def population(name: str) -> Population:
    """The population of this name."""
    if name in _MADE:
        return Population(name, _MADE[name]())
    rows = pd.read_parquet(Path(os.environ["MLOPS_REAL_DATA"]) / f"{name}.parquet")
    return Population(name, _shuffled(rows.drop(columns=_REAL[name], errors="ignore")))


def _shuffled(rows: pd.DataFrame) -> Draw:
    def draw(n: int, random: np.random.Generator) -> pd.DataFrame:
        return rows.iloc[random.choice(len(rows), n, replace=n > len(rows))].reset_index(drop=True)

    return draw


def _smoothed(name: str) -> Draw:
    """scikit-learn's few hundred rows, each drawn again and moved a little."""
    from sklearn import datasets

    rows = getattr(datasets, name)(as_frame=True).data
    values, spread = rows.to_numpy(), rows.std().to_numpy()
    # What has few values (sex) keeps them.
    spread = np.where(rows.nunique() > 20, spread, 0)

    def draw(n: int, random: np.random.Generator) -> pd.DataFrame:
        chosen = values[random.integers(len(values), size=n)]
        moved = chosen + 0.05 * spread * random.normal(size=chosen.shape)
        return pd.DataFrame(moved, columns=rows.columns)

    return draw


def _classification() -> pd.DataFrame:
    from sklearn.datasets import make_classification

    features, _ = make_classification(
        200_000, 20, n_informative=8, n_redundant=4, random_state=0, shuffle=False
    )
    return pd.DataFrame(features).add_prefix("x")


def _card_fraud() -> pd.DataFrame:
    spec = importlib.util.spec_from_file_location(
        "card_fraud_generate", ROOT / "assets" / "card_fraud" / "generate.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Days before anything changes there.
    days = [module.LAST_TRAINING_DAY - timedelta(days=ago) for ago in range(100)]
    return pd.concat([module.day(day) for day in days], ignore_index=True).drop(
        columns=["event_time", "fraud"]
    )


_MADE: dict[str, Callable[[], Draw]] = {
    "breast_cancer": lambda: _smoothed("load_breast_cancer"),
    "diabetes": lambda: _smoothed("load_diabetes"),
    "make_classification": lambda: _shuffled(_classification()),
    "card_fraud": lambda: _shuffled(_card_fraud()),
}
_REAL = {
    "bank_marketing": ["contact_month", "y"],
    "bike_sharing": ["event_time", "casual", "registered", "instant", "dteday", "cnt"],
}
"""Columns of the real data that no model sees."""
