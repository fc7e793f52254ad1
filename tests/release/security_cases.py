"""Cases to assess without a registry: frozen rows, and an estimator that answers as bundles do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.release.security.case import Case
from mlops_pipelines.release.security.report import Seen
from mlops_pipelines.serve.predictor import Answer
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.answers import labels
from mlops_pipelines.train.snapshot import Snapshot, features, freeze, read_rows


class Answering:
    """A fitted estimator, asked as a Predictor is."""

    def __init__(self, estimator: Any, snapshot: Snapshot) -> None:
        self._estimator, self._snapshot = estimator, snapshot

    def predict_frame(self, frame: pd.DataFrame) -> Answer:
        rows = frame[[column.name for column in self._snapshot.columns]]
        predictions = self._estimator.predict(rows).tolist()
        if not hasattr(self._estimator, "predict_proba"):
            scores = predictions if self._snapshot.classes is None else None
            return Answer(predictions, scores, None)
        shares = self._estimator.predict_proba(rows)
        binary = len(self._snapshot.classes or ()) == 2
        return Answer(
            predictions, (shares[:, 1] if binary else shares.max(1)).tolist(), shares.tolist()
        )

    def predict_columns(self, columns: Mapping[str, Any]) -> Answer:
        return self.predict_frame(pd.DataFrame(dict(columns)))


def spec_of(task: str = "binary_classification", **data: Any) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "m",
            "task": task,
            "data": {"source": {"csv": "x.csv"}, "target": "target", **data},
            "estimator": {"python": "a:b"},
        }
    )


def case_of(
    frame: pd.DataFrame, folder: Path, task: str = "binary_classification", **data: Any
) -> Case:
    spec, store = spec_of(task, **data), Store(str(folder / "store"))
    snapshot = freeze(frame, spec, store, "test")
    rows = read_rows(store, snapshot)
    return Case(snapshot, rows.train, rows.holdout, spec.main_metric, spec.main_drop)


def fitted(case: Case, estimator: Any) -> Answering:
    estimator.fit(features(case.train, case.snapshot), labels(case.train, case.snapshot))
    return Answering(estimator, case.snapshot)


def noisy_classes(rows: int, columns: int = 6, seed: int = 0) -> pd.DataFrame:
    """Two classes that a linear model tells apart with an AUC of about 0.85."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, columns))
    chance = 1 / (1 + np.exp(-1.2 * values[:, :3].sum(axis=1)))
    frame = pd.DataFrame(values, columns=[f"x{place}" for place in range(columns)])
    return frame.assign(target=(random.random(rows) < chance).astype(int))


def kinds(seen: Seen) -> list[tuple[str, str]]:
    return [(finding.severity, finding.kind) for finding in seen.findings]


def measured(seen: Seen) -> dict[str, float]:
    return {measure.name: measure.value for measure in seen.measures}
