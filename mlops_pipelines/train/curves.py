"""Loss per iteration, where an estimator learns in iterations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.train.estimator import last_step

MANY_ROWS = 2_000
"""A stage is judged on so many rows of each side at most; which ones is seeded."""
LATE = 0.8
WORSE = 1.1
"""The holdout's loss fell this share of the way and then rose by this factor: too many stages."""

Curves = dict[str, list[float]]


def loss_curves(
    estimator: Any,
    train: tuple[pd.DataFrame, np.ndarray],
    holdout: tuple[pd.DataFrame, np.ndarray],
) -> Curves:
    """`train_loss` and `holdout_loss` by stage, or what the estimator kept while it was fitted.

    The loss is the log loss of a classifier and the mean squared error of a regressor, for
    estimators that answer stage by stage (boosting). Others keep `loss_curve_` themselves.
    """
    learner = last_step(estimator)
    if hasattr(learner, "staged_predict"):
        curves = {
            "train_loss": list(_staged(estimator, *_some(*train))),
            "holdout_loss": list(_staged(estimator, *_some(*holdout))),
        }
    else:
        curves = {
            "train_loss": list(getattr(learner, "loss_curve_", None) or []),
            "validation_score": list(getattr(learner, "validation_scores_", None) or []),
        }
    return {
        name: [float(value) for value in values]
        for name, values in curves.items()
        if len(values) and np.isfinite(values).all()
    }


def too_many_stages(curves: Curves) -> str:
    """A sentence where the holdout was predicted best long before the last stage, else empty."""
    losses = curves.get("holdout_loss", [])
    if not losses:
        return ""
    best = int(np.argmin(losses))
    if best + 1 >= LATE * len(losses) or losses[-1] <= WORSE * losses[best]:
        return ""
    return (
        f"overfits by its stages: the holdout's loss is lowest at {best + 1} of {len(losses)} "
        f"({losses[best]:.4g}) and {losses[-1]:.4g} at the last; fewer would do better"
    )


def _staged(estimator: Any, rows: pd.DataFrame, truth: np.ndarray) -> Iterator[float]:
    learner = last_step(estimator)
    seen = estimator[:-1].transform(rows) if learner is not estimator else rows
    if hasattr(learner, "staged_predict_proba"):
        place = np.searchsorted(learner.classes_, truth)
        for probabilities in learner.staged_predict_proba(seen):
            own = probabilities[np.arange(len(place)), place]
            yield float(-np.log(np.clip(own, 1e-15, None)).mean())
    else:
        for predicted in learner.staged_predict(seen):
            yield float(np.square(predicted - truth).mean())


def _some(rows: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    if len(rows) <= MANY_ROWS:
        return rows, truth
    chosen = np.sort(np.random.default_rng(0).choice(len(rows), MANY_ROWS, replace=False))
    return rows.iloc[chosen], truth[chosen]
