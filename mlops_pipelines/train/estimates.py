"""Learns from the holdout what a version's answers are worth where no label is in yet."""

from __future__ import annotations

import pandas as pd

from mlops_pipelines.measure.estimator import Estimator, fit_estimator
from mlops_pipelines.measure.outputs import Outputs, positive_last
from mlops_pipelines.measure.profile import Profile
from mlops_pipelines.train.fit import Fitted
from mlops_pipelines.train.snapshot import Snapshot, features

ESTIMATOR = "estimator.json"
"""The file of a version that `Estimator.from_json` reads."""


def learn_estimator(
    snapshot: Snapshot, holdout: pd.DataFrame, fitted: Fitted, reference: Profile
) -> Estimator:
    """The estimator of `fitted`, from its answers to the holdout, in the cells of `reference`.

    Raises DataError where the answers are none that metrics could be computed of.
    """
    classes = snapshot.classes or ()
    outputs = fitted.outputs
    if classes and snapshot.positive is not None:
        ordered = positive_last(classes, snapshot.positive)
        if ordered != tuple(classes) and outputs.probabilities is not None:
            flipped = outputs.probabilities[:, ::-1]
            outputs = Outputs(outputs.prediction, outputs.score, flipped)
        classes = ordered  # type: ignore[assignment]
    rows = features(holdout, snapshot)
    return fit_estimator(rows, reference.columns, fitted.truth, outputs, classes)
