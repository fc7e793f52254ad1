"""Checks the column to predict against the task, and names its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.spec import ModelSpec

Label = str | int | bool


@dataclass(frozen=True)
class Target:
    """The classes of a target, sorted as scikit-learn sorts them, and rows of each.

    All three are None for regression, `positive` for multiclass too.
    """

    classes: tuple[Label, ...] | None
    positive: Label | None
    counts: dict[str, int] | None


def whole_classes(values: pd.Series, kind: str, task: str) -> tuple[pd.Series, str]:
    """A target of classes 0.0, 1.0, … as the integers they are; any other as it is."""
    if task == "regression" or kind != "double" or not len(values):
        return values, kind
    numbers = values.to_numpy(dtype=float)
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
        return values, kind
    return values.astype("int64"), "long"


def check_target(values: pd.Series, kind: str, spec: ModelSpec) -> Target:
    """What the typed column `values` of type `kind` says; raises DataError where it cannot be."""
    name, task = spec.data.target, spec.task
    where = f"{spec.name}: target {name!r}"
    nulls = int(values.isna().sum())
    if nulls == len(values):
        raise DataError(f"{where} has no value in any of {nulls} rows; labels were expected")
    if nulls:
        raise DataError(
            f"{where} has {nulls} nulls in {len(values)} rows; leave rows without a label out"
        )
    if task == "regression":
        if kind not in ("double", "long"):
            raise DataError(f"{where} holds {kind}; regression needs numbers")
        if not np.isfinite(values.to_numpy(dtype=float)).all():
            raise DataError(f"{where} holds infinite values; finite numbers were expected")
        if values.nunique() == 1:
            raise DataError(f"{where} has one value only; there is nothing to learn")
        return Target(None, None, None)
    if kind not in ("string", "long", "boolean"):
        raise DataError(
            f"{where} holds {kind}; {task} needs text, integers or booleans "
            "(or declare task: regression)"
        )
    counted = values.value_counts().sort_index()
    classes = tuple(_plain(label) for label in counted.index)
    if len(classes) == 1:
        raise DataError(f"{where} has one class only in {len(values)} rows; two or more are needed")
    if task == "binary_classification" and len(classes) != 2:
        raise DataError(
            f"{where} has {len(classes)} classes; binary_classification needs 2 "
            "(or declare task: multiclass_classification)"
        )
    if len(classes) > 1000:
        raise DataError(
            f"{where} has {len(classes)} classes; at most 1000 are supported "
            "(or declare task: regression)"
        )
    counts = {str(label): int(n) for label, n in zip(classes, counted, strict=True)}
    return Target(classes, _positive(classes, spec, where), counts)


def check_split(target: pd.Series, holdout: np.ndarray, spec: ModelSpec) -> None:
    """Raises DataError where a side of the split lacks rows, or has fewer than 2 of a class."""
    what = "data.split.holdout" if spec.data.event_time else "data.split.holdout or data.split.seed"
    for side, rows in (("training split", target[~holdout]), ("holdout", target[holdout])):
        if len(rows) < 2:
            raise DataError(
                f"{spec.name}: the {side} has {len(rows)} of {len(target)} rows; "
                f"bring more rows, or change {what}"
            )
        if spec.task == "regression":
            continue
        counts = rows.value_counts()
        rare = [label for label in target.unique() if counts.get(label, 0) < 2]
        if rare:
            raise DataError(
                f"{spec.name}: the {side} has fewer than 2 rows of {len(rare)} of "
                f"{target.nunique()} classes of {spec.data.target!r}; "
                f"bring more rows, or change {what}"
            )


def _positive(classes: tuple[Label, ...], spec: ModelSpec, where: str) -> Label | None:
    if spec.task != "binary_classification":
        if spec.data.positive is not None:
            raise DataError(f"{where}: data.positive belongs to binary_classification")
        return None
    wanted = spec.data.positive
    if wanted is None:
        return classes[1]
    for label in classes:
        if label == wanted or str(label) == str(wanted):
            return label
    raise DataError(
        f"{where}: data.positive is {wanted!r}; the classes are {classes[0]!r} and {classes[1]!r}"
    )


def _plain(label: Any) -> Label:
    return label.item() if isinstance(label, np.generic) else label
