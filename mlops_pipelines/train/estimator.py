"""Builds the estimator that a declaration names, with the preparation its columns need."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_pipelines.errors import DataError
from mlops_pipelines.importing import load_attribute
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.columns import Column

_SCALED = (
    "sklearn.linear_model",
    "sklearn.svm",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.gaussian_process",
    "sklearn.kernel_ridge",
)
"""Where distance or regularisation makes the unit of a column matter; trees do not care."""


def build_estimator(
    spec: ModelSpec,
    columns: Sequence[Column],
    root: Path,
    folder: Path,
    python: str,
    params: Mapping[str, Any],
) -> Any:
    """An unfitted estimator for `columns`.

    A class is instantiated and prepared for: text and booleans are one-hot encoded, nulls imputed
    where the estimator refuses them, numbers scaled where units matter. A function is called with
    the params, and what it returns is taken as it is. Raises DataError.
    """
    found = load_attribute(python, root, folder)
    if not callable(found):
        raise DataError(f"{python}: is a {type(found).__name__}; a class or a function is needed")
    estimator = _call(found, python, dict(params), spec.estimator.seed)
    if not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise DataError(
            f"{python}: gave a {type(estimator).__name__}; an estimator with fit and predict is "
            "needed"
        )
    _check_task(estimator, python, spec.task)
    return _prepared(estimator, columns) if inspect.isclass(found) else estimator


def last_step(estimator: Any) -> Any:
    """The estimator that learns: the last step of a pipeline, or itself."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def step_prefix(estimator: Any) -> str:
    """What sklearn's `fit` wants before a parameter of the last step, such as `estimator__`."""
    prefix = ""
    while hasattr(estimator, "steps"):
        prefix += f"{estimator.steps[-1][0]}__"
        estimator = estimator.steps[-1][1]
    return prefix


def _call(found: Any, python: str, params: dict[str, Any], seed: int) -> Any:
    try:
        accepted = tuple(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        accepted = ()
    if "random_state" in accepted:
        params.setdefault("random_state", seed)
    try:
        inspect.signature(found).bind(**params)
    except TypeError as error:
        raise DataError(
            f"{python}: estimator.params do not fit ({error}); allowed: {', '.join(accepted)}"
        ) from error
    except ValueError:
        pass
    try:
        return found(**params)
    except Exception as error:
        raise DataError(f"{python}: raised {type(error).__name__} when called") from error


def _check_task(estimator: Any, python: str, task: str) -> None:
    from sklearn.base import is_classifier, is_regressor

    classifies, regresses = is_classifier(estimator), is_regressor(estimator)
    if task == "regression" and classifies:
        raise DataError(f"{python}: is a classifier; task regression needs a regressor")
    if task != "regression" and regresses:
        raise DataError(f"{python}: is a regressor; task {task} needs a classifier")


def _prepared(estimator: Any, columns: Sequence[Column]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.utils import get_tags

    numbers = [column for column in columns if column.type in ("double", "long")]
    categories = [column.name for column in columns if column.type in ("string", "boolean")]
    steps: list[tuple[str, Any]] = []
    if any(column.nullable for column in numbers) and not get_tags(estimator).input_tags.allow_nan:
        steps.append(("impute", SimpleImputer(strategy="median", add_indicator=True)))
    if type(estimator).__module__.startswith(_SCALED):
        steps.append(("scale", StandardScaler()))
    if not steps and not categories:
        return estimator
    branches: list[tuple[str, Any, list[str]]] = []
    if numbers:
        names = [column.name for column in numbers]
        branches.append(("numbers", Pipeline(steps) if steps else "passthrough", names))
    if categories:
        encoder = OneHotEncoder(handle_unknown="ignore", max_categories=50, sparse_output=False)
        branches.append(("categories", encoder, categories))
    prepare = ColumnTransformer(branches, verbose_feature_names_out=False)
    return Pipeline([("prepare", prepare), ("estimator", estimator)])
