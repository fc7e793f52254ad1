"""What a fitted estimator answers, in the shape that metrics and bundles expect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.train.snapshot import Snapshot, features

GOLDEN_ROWS = 20


def labels(frame: pd.DataFrame, snapshot: Snapshot) -> np.ndarray:
    """The target of `frame` as numpy: float64, int64, bool or text."""
    values = frame[snapshot.target]
    if snapshot.classes is None:
        return values.to_numpy(dtype=np.float64)
    kind: type = type(snapshot.classes[0])
    return np.asarray(values.to_numpy(), dtype=kind)


def answer(estimator: Any, rows: pd.DataFrame, snapshot: Snapshot) -> Outputs:
    """The answers to `rows`, the model's own columns; no scores without `predict_proba`."""
    prediction = np.asarray(estimator.predict(rows)).reshape(-1)
    if snapshot.classes is None:
        numbers = prediction.astype(np.float64)
        return Outputs(numbers, numbers, None)
    if not hasattr(estimator, "predict_proba"):
        return Outputs(prediction, None, None)
    probabilities = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    if snapshot.positive is not None:
        score = probabilities[:, snapshot.classes.index(snapshot.positive)]
    else:
        places = np.searchsorted(np.asarray(snapshot.classes), prediction)
        score = probabilities[np.arange(len(prediction)), places]
    return Outputs(prediction, score, probabilities)


def golden(holdout: pd.DataFrame, outputs: Outputs, snapshot: Snapshot) -> dict[str, Any]:
    """Up to 20 rows spread over the holdout, with their answers, as a JSON value.

    `rows` are lists in the order of the snapshot's columns, null as None; `scores` may be None.
    """
    count = min(GOLDEN_ROWS, len(holdout))
    chosen = np.linspace(0, len(holdout) - 1, count).round().astype(int)
    rows = features(holdout.iloc[chosen], snapshot)
    listed = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    score = None if outputs.score is None else outputs.score[chosen].tolist()
    return {"rows": listed, "predictions": outputs.prediction[chosen].tolist(), "scores": score}
