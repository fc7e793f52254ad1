"""What a model answered, alone and beside the truth."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mlops_pipelines.errors import DataError

Task = Literal["binary_classification", "multiclass_classification", "regression"]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Outputs:
    """What a model answered for n rows.

    `prediction` (n,): labels, or numbers in the target's unit.
    `score` (n,): P(positive) for two classes, P(predicted) for more, the prediction for regression.
    `probabilities` (n, k): one column per class, in the order of `classes`.
    """

    prediction: NDArray[Any]
    score: Floats | None = None
    probabilities: Floats | None = None

    def __len__(self) -> int:
        return len(self.prediction)

    def take(self, rows: NDArray[Any]) -> Outputs:
        """The same for some rows: indices, or a mask of n booleans."""
        return Outputs(
            self.prediction[rows],
            None if self.score is None else self.score[rows],
            None if self.probabilities is None else self.probabilities[rows],
        )


@dataclass(frozen=True)
class Judged:
    """Outputs beside the truth, checked, with labels replaced by their place in `classes`.

    `truth` and `prediction` (n,) are codes for classification and numbers for regression.
    """

    truth: Codes | Floats
    prediction: Codes | Floats
    score: Floats | None
    probabilities: Floats | None
    n_classes: int

    def __len__(self) -> int:
        return len(self.truth)


def positive_last(classes: Sequence[Hashable], positive: Hashable) -> tuple[Hashable, ...]:
    """Two classes in the order the metrics expect: the positive one last.

    Raises DataError where `positive` is not one of `classes`.
    """
    if positive not in classes:
        raise DataError(f"positive: expected one of the {len(classes)} classes of the target")
    return (*(label for label in classes if label != positive), positive)


def judge(truth: ArrayLike, outputs: Outputs, classes: Sequence[Hashable]) -> Judged:
    """Outputs beside the truth. No classes means regression; of two, the last is positive.

    Raises DataError where lengths differ, a label is missing or unknown, a number is not finite, or
    a probability lies outside 0 to 1.
    """
    values = np.asarray(truth)
    if len(values) != len(outputs):
        raise DataError(f"truth: {len(values)} rows beside {len(outputs)} predictions")
    if not classes:
        return Judged(
            _finite("truth", values), _finite("prediction", outputs.prediction), None, None, 0
        )
    return Judged(
        _codes("truth", values, classes),
        _codes("prediction", outputs.prediction, classes),
        None if outputs.score is None else _unit("score", outputs.score, (len(values),)),
        None
        if outputs.probabilities is None
        else _unit("probabilities", outputs.probabilities, (len(values), len(classes))),
        len(classes),
    )


def _codes(what: str, values: NDArray[Any], classes: Sequence[Hashable]) -> Codes:
    place = {label: code for code, label in enumerate(classes)}
    # Python's equality, so that 1, 1.0 and True are one label whichever file they came from.
    row_codes, uniques = pd.factorize(np.asarray(values, dtype=object))
    unique_codes = np.array([place.get(value, -1) for value in uniques.tolist()] + [-1])
    codes: Codes = unique_codes[row_codes].astype(np.int64)
    unknown = int((codes < 0).sum())
    if unknown:
        raise DataError(
            f"{what}: {unknown} of {len(codes)} rows hold no label or one that is not among the "
            f"{len(classes)} classes of the model; leave these rows out or retrain"
        )
    return codes


def _finite(what: str, values: NDArray[Any]) -> Floats:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what}: expected numbers, found {values.dtype}") from None
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        raise DataError(f"{what}: {bad} of {numbers.size} numbers are missing or not finite")
    return numbers


def _unit(what: str, values: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    numbers = _finite(what, values)
    if numbers.shape != shape:
        raise DataError(f"{what}: expected shape {shape}, found {numbers.shape}")
    outside = int(((numbers < 0) | (numbers > 1)).sum())
    if outside:
        raise DataError(
            f"{what}: {outside} of {numbers.size} lie outside 0 to 1; expected P(class)"
        )
    return numbers
