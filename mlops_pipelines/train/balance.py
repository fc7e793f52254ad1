"""Class weights: rare classes made to count as much as common ones, and imbalance seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops_pipelines.errors import DataError
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.estimator import last_step, step_prefix

IMBALANCED = 0.1
"""A class with a smaller share of the training rows is worth a warning."""


def class_weights(truth: np.ndarray) -> dict[Any, float]:
    """The weight of each class, n / (k * rows of the class): scikit-learn's `balanced`."""
    classes, counts = np.unique(truth, return_counts=True)
    weights = len(truth) / (len(classes) * counts)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))


def balance(estimator: Any, spec: ModelSpec) -> bool:
    """Make `estimator` balance its classes; True where it needs sample weights for that.

    Raises DataError where it can take neither.
    """
    from sklearn.utils.validation import has_fit_parameter

    if spec.task == "regression":
        raise DataError(
            f"{spec.name}: estimator.balance is for classes; leave it out for a regression"
        )
    learner = last_step(estimator)
    if "class_weight" in learner.get_params(deep=False):
        learner.set_params(class_weight="balanced")
        return False
    if has_fit_parameter(learner, "sample_weight"):
        return True
    raise DataError(
        f"{spec.name}: estimator.balance is weights, and {type(learner).__name__} takes neither "
        "class_weight nor sample_weight; use balance: none, or another estimator"
    )


def fit_arguments(
    estimator: Any, truth: np.ndarray, weights: Mapping[Any, float] | None
) -> dict[str, Any]:
    """The keyword arguments of `estimator.fit` that carry the `weights` of `truth`'s rows."""
    if weights is None:
        return {}
    rows = np.array([weights[label] for label in truth.tolist()])
    return {f"{step_prefix(estimator)}sample_weight": rows}


def imbalance(truth: np.ndarray) -> str | None:
    """A sentence where the rarest class has less than 10 % of the rows."""
    _, counts = np.unique(truth, return_counts=True)
    share = counts.min() / len(truth)
    if share >= IMBALANCED:
        return None
    return (
        f"the rarest of {len(counts)} classes has {share:.1%} of the training rows "
        f"({counts.min()} of {len(truth)}); estimator.balance: weights makes it count as much as "
        "the others"
    )
