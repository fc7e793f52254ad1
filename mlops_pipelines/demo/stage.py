"""What is staged: the rows that callers send, and the two faults; all else is the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

FAULTY_COLUMN = "worst perimeter"
FAULTY_FACTOR = 10.0
"""An upstream team switches this column from millimetres to tenths of one."""

HINDSIGHT_COLUMN = "days in treatment"
"""Counted on after the diagnosis: long for malignant ones in the training data, 0 in production."""


def with_hindsight(seed: int = 0) -> pd.DataFrame:
    """The breast-cancer rows with a column that only hindsight knows.

    It is noisy: one that told the target would be found by the security assessment.
    """
    from sklearn.datasets import load_breast_cancer

    frame: pd.DataFrame = load_breast_cancer(as_frame=True).frame
    noise = np.random.default_rng(seed).normal(0.0, 0.6, len(frame))
    days = np.exp(3.0 + 2.0 * (frame["target"] == 0) + noise).round()
    frame.insert(0, HINDSIGHT_COLUMN, days)
    return frame


def before_the_diagnosis(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` as production has them: nobody is in treatment yet."""
    return rows.assign(**{HINDSIGHT_COLUMN: 0.0})


def change_unit(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` as the upstream fault delivers them."""
    return rows.assign(**{FAULTY_COLUMN: rows[FAULTY_COLUMN] * FAULTY_FACTOR})


def request_body(
    rows: pd.DataFrame, columns: Sequence[str], ids: Sequence[str] | None = None
) -> dict[str, Any]:
    """An MLflow `dataframe_split` request; a column that callers do not have is sent empty."""
    known = rows.reindex(columns=list(columns)).astype(object)
    body: dict[str, Any] = {
        "dataframe_split": {
            "columns": list(columns),
            "data": known.where(known.notna(), None).to_numpy().tolist(),
        }
    }
    return body if ids is None else {**body, "prediction_ids": list(ids)}
