"""Finds the columns whose values a model takes only as it saw them in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.predictor import ModelError
from mlops_pipelines.train.quietly import quietly

if TYPE_CHECKING:
    from mlops_pipelines.serve.predictor import Model

MOST_LEVELS = 1000
"""A column with more is no category, and its message could not name what is allowed."""
UNKNOWN = {"string": "a category that was never trained on", "long": -987_654_321}


def closed_levels(model: Model, meta: Bundle, train: pd.DataFrame) -> dict[str, list[Any]]:
    """The levels of each text or whole-number column in which the model refuses any other.

    It is tried on the first row of `train`: an encoder told to raise on unknown categories does,
    and its caller must then be told what is allowed before the model fails.
    """
    row = {name: train[name].iloc[:1] for name in meta.names}
    with quietly():
        if not len(train) or not _answers(model, row):
            return {}
        found = {}
        for column in meta.columns:
            if column.type not in UNKNOWN:
                continue
            unknown = pd.Series([UNKNOWN[column.type]], dtype=object)
            levels = train[column.name].dropna().unique().tolist()
            if len(levels) <= MOST_LEVELS and not _answers(model, row | {column.name: unknown}):
                found[column.name] = sorted(levels)
    return found


def _answers(model: Model, row: dict[str, Any]) -> bool:
    try:
        model.answer_columns(row)
    except ModelError:
        return False
    return True
