"""Labelled rows as truth and outputs, in the terms that the metrics are computed in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.measure.outputs import Outputs, positive_last
from mlops_pipelines.spec import ModelSpec

_WORDS: dict[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True)
class Outcome:
    """What was true and what was answered on n rows.

    `rows` are the usable ones of those asked for, `unusable` counts the others: their label is not
    one of `classes` (empty for regression; of two, the last is positive), or is no number.
    """

    rows: pd.DataFrame
    truth: np.ndarray[Any, Any]
    outputs: Outputs
    classes: tuple[Hashable, ...]
    unusable: int


def outcome(
    spec: ModelSpec, rows: pd.DataFrame, classes: Sequence[Hashable] | None = None
) -> Outcome:
    """The outcome of labelled rows, `classes` being in the order of `probabilities`.

    Where `classes` is not given, they are the predictions and labels that the rows hold, in order.
    """
    if spec.task == "regression":
        truth = pd.to_numeric(rows["label"], errors="coerce").to_numpy(dtype=np.float64)
        answered = pd.to_numeric(rows["prediction"], errors="coerce").to_numpy(dtype=np.float64)
        usable = np.isfinite(truth) & np.isfinite(answered)
        kept = rows[usable].reset_index(drop=True)
        outputs = Outputs(answered[usable], answered[usable])
        return Outcome(kept, truth[usable], outputs, (), int((~usable).sum()))
    known = tuple(classes) if classes else _classes(spec, rows)
    truth = _as_classes(rows["label"], known)
    answered = _as_classes(rows["prediction"], known)
    usable = pd.notna(truth) & pd.notna(answered)
    kept = rows[usable].reset_index(drop=True)
    outputs = Outputs(answered[usable], _scores(kept), _probabilities(kept, len(known)))
    ordered = in_order(spec, known)
    if ordered != known and outputs.probabilities is not None:
        outputs = Outputs(outputs.prediction, outputs.score, outputs.probabilities[:, ::-1])
    return Outcome(kept, truth[usable], outputs, ordered, int((~usable).sum()))


def answered(spec: ModelSpec, rows: pd.DataFrame, classes: Sequence[Hashable]) -> Outcome:
    """What was answered to rows whose truth is not asked for: `truth` repeats the prediction.

    `classes` as the metrics take them; empty for regression. Of two, only the score is read.
    """
    if not classes:
        return outcome(spec, rows.assign(label=rows["prediction"]), classes)
    prediction = _as_classes(rows["prediction"], classes)
    usable = pd.notna(prediction)
    unusable = int((~usable).sum())
    kept = rows.reset_index(drop=True) if not unusable else rows[usable].reset_index(drop=True)
    prediction = prediction[usable]
    shares = _probabilities(kept, len(classes)) if len(classes) > 2 else None
    outputs = Outputs(prediction, _scores(kept), shares)
    return Outcome(kept, prediction, outputs, in_order(spec, classes), unusable)


def in_order(spec: ModelSpec, classes: Sequence[Hashable]) -> tuple[Hashable, ...]:
    """The classes as the metrics take them: of two, the declared positive one is last."""
    positive = spec.data.positive
    if len(classes) == 2 and positive is not None and positive in classes:
        return positive_last(classes, positive)
    return tuple(classes)


def _classes(spec: ModelSpec, rows: pd.DataFrame) -> tuple[Hashable, ...]:
    """What was answered, and the labels that no answer means, if they are written alike."""
    answered: set[Any] = set(rows["prediction"].dropna().tolist())
    labels = rows["label"].dropna()
    meant = _as_classes(labels, tuple(answered))
    other = {
        label
        for label, found in zip(labels.tolist(), meant, strict=True)
        if found is None and any(type(label) is type(answer) for answer in answered)
    }
    # Of a binary model, a third label is a mistake and not a class.
    two = spec.task == "binary_classification" and len(answered) == 2
    return tuple(sorted(answered if two else answered | other))


def _as_classes(values: pd.Series[Any], classes: Sequence[Hashable]) -> np.ndarray[Any, Any]:
    """Each value as the class it means, or None: a CSV's 1.0, "1" or "true" is 1 or True."""
    by_value = {label: label for label in classes}
    by_text = {str(label): label for label in classes}
    places, uniques = pd.factorize(values.astype(object))
    # The last one is what a missing value means.
    meant = np.full(len(uniques) + 1, None, dtype=object)
    for place, value in enumerate(uniques.tolist()):
        found = by_value.get(value)
        if found is None and isinstance(value, float) and value.is_integer():
            found = by_text.get(str(int(value)))
        if found is None and isinstance(value, str):
            text = value.strip()
            found = by_text.get(text, by_value.get(_WORDS.get(text.lower(), value)))
        elif found is None:
            found = by_text.get(str(value))
        meant[place] = found
    return meant[places]


def _scores(rows: pd.DataFrame) -> np.ndarray[Any, Any] | None:
    scores = rows["score"].to_numpy(dtype=np.float64, na_value=np.nan)
    return scores if len(scores) and np.isfinite(scores).all() else None


def _probabilities(rows: pd.DataFrame, k: int) -> np.ndarray[Any, Any] | None:
    found = [value for value in rows["probabilities"] if value is not None]
    if not found or len(found) < len(rows) or any(len(value) != k for value in found):
        return None
    return np.array([np.asarray(value, dtype=np.float64) for value in found])
