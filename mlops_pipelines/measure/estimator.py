"""What is learned of a version at training, so that it can be judged where no label is in yet."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.attribution import loss_by_cell
from mlops_pipelines.measure.calibration import Calibration, calibrate
from mlops_pipelines.measure.estimate import (
    Estimate,
    class_estimates,
    estimated_auc,
    mean_loss,
    root,
)
from mlops_pipelines.measure.loss import AdditiveLoss, fit_loss
from mlops_pipelines.measure.outputs import Codes, Floats, Judged, Outputs, judge
from mlops_pipelines.measure.profile import ColumnProfile

SCHEMA = 1


@dataclass(frozen=True)
class Estimator:
    """What a version's answers are worth, as its holdout of `rows` rows showed.

    Classification: `classes` in the order of the metrics (of two, the last is positive), and
    `calibrations`, one for P(positive) or one per class; `scored` says whether the version gives
    probabilities. Regression: the expected `absolute` and `squared` error of a row. `loss_by_cell`
    is the mean expected loss of the rows in each cell of each column of the reference profile:
    1 − P(right), or the expected absolute error.
    """

    rows: int
    classes: tuple[Hashable, ...]
    scored: bool
    calibrations: tuple[Calibration, ...]
    absolute: AdditiveLoss | None
    squared: AdditiveLoss | None
    loss_by_cell: Mapping[str, tuple[float, ...]]

    def estimates(self, frame: pd.DataFrame, outputs: Outputs) -> dict[str, Estimate]:
        """Every metric that can be estimated of these answers, by name.

        `frame` (n rows) holds the features; `outputs` the answers, probabilities in the order of
        `classes`. Classification: accuracy, precision, recall, f1 and, shown only, roc_auc.
        Regression: mae, rmse. Raises DataError where the answers are not of these classes, or lack
        the probabilities that this version gives.
        """
        if not len(outputs):
            return {}
        if not self.classes:
            assert self.absolute is not None
            assert self.squared is not None
            rows = _with_prediction(frame, outputs)
            absolute, squared = self.absolute, self.squared
            mae = mean_loss(
                "mae", absolute(rows), absolute.relative_variance, absolute.standard_error
            )
            mse = mean_loss("mse", squared(rows), squared.relative_variance, squared.standard_error)
            return {"mae": mae, "rmse": root(mse, "rmse")}
        prediction, given = _answers(outputs, self.classes, self.scored)
        chances = self._chances(given)
        found = class_estimates(chances, prediction, self._variance(given, prediction))
        area = self._area(chances, given)
        if area is not None:
            found["roc_auc"] = Estimate("roc_auc", area, None, None, len(outputs))
        return found

    def expected_loss(self, frame: pd.DataFrame, outputs: Outputs) -> Floats:
        """The expected loss (n,) of each answer: 1 − P(right), or the expected absolute error."""
        if not self.classes:
            assert self.absolute is not None
            return self.absolute(_with_prediction(frame, outputs))
        prediction, given = _answers(outputs, self.classes, self.scored)
        right: Floats = self._chances(given)[np.arange(len(prediction)), prediction]
        return 1 - right

    def to_json(self) -> str:
        """As JSON text; `from_json` reads it back."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "rows": self.rows,
                "classes": list(self.classes),
                "scored": self.scored,
                "calibrations": [each.to_json() for each in self.calibrations],
                "absolute": None if self.absolute is None else self.absolute.to_json(),
                "squared": None if self.squared is None else self.squared.to_json(),
                "loss_by_cell": {
                    name: [float(f"{loss:.6g}") for loss in losses]
                    for name, losses in self.loss_by_cell.items()
                },
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Estimator:
        """Raises DataError where the text is no estimator, or one of another schema."""
        try:
            found = json.loads(text)
            schema = found["schema"]
            if schema == SCHEMA:
                return cls(
                    int(found["rows"]),
                    tuple(found["classes"]),
                    bool(found["scored"]),
                    tuple(Calibration.from_json(each) for each in found["calibrations"]),
                    _loss(found["absolute"]),
                    _loss(found["squared"]),
                    {name: tuple(each) for name, each in found["loss_by_cell"].items()},
                )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"estimator: not readable as JSON of schema {SCHEMA}: {error!r}"
            ) from error
        raise DataError(f"estimator: schema {schema}; this release reads schema {SCHEMA}")

    def _chances(self, given: Floats) -> Floats:
        if len(self.classes) == 2:
            positive = self.calibrations[0](given[:, 1])
            return np.column_stack([1 - positive, positive])
        each = np.column_stack(
            [calibration(given[:, code]) for code, calibration in enumerate(self.calibrations)]
        )
        total = each.sum(axis=1, keepdims=True)
        even = np.full_like(each, 1 / len(self.classes))
        chances: Floats = np.divide(each, total, out=even, where=total > 0)
        return chances

    def _variance(self, given: Floats, prediction: Codes) -> Floats:
        """Of the sum of chances of each class over the rows predicted each class (k, k)."""
        k = len(self.classes)
        found = np.zeros((k, k))
        for called in range(k):
            mine = given[prediction == called]
            if k == 2:
                found[called] = self.calibrations[0].variance_of_sum(mine[:, 1])
            else:
                found[called] = [
                    calibration.variance_of_sum(mine[:, code])
                    for code, calibration in enumerate(self.calibrations)
                ]
        return found

    def _area(self, chances: Floats, given: Floats) -> float | None:
        codes = [1] if len(self.classes) == 2 else range(len(self.classes))
        areas = [estimated_auc(chances[:, code], given[:, code]) for code in codes]
        known = [area for area in areas if area is not None]
        return float(np.mean(known)) if known and len(known) == len(areas) else None


def fit_estimator(
    frame: pd.DataFrame,
    columns: Sequence[ColumnProfile],
    truth: ArrayLike,
    outputs: Outputs,
    classes: Sequence[Hashable],
) -> Estimator:
    """Learn from n rows that the model has not learned from: their features, truth and answers.

    `columns` are those of the reference profile; `classes` and `outputs` are as the metrics take
    them. Raises DataError as `judge` does, and where there is no row.
    """
    judged = judge(truth, outputs, classes)
    n = len(judged)
    if not n:
        raise DataError("estimator: the holdout has no rows to learn from")
    scored = bool(classes) and _given(judged) is not None
    absolute = squared = None
    calibrations: tuple[Calibration, ...] = ()
    rows = _with_prediction(frame, outputs) if not classes else frame
    if not classes:
        numbers = np.asarray(judged.prediction, dtype=np.float64)
        watched = [*columns, _prediction_cells(numbers)]
        watched = list({column.name: column for column in watched}.values())
        error = np.abs(np.asarray(judged.truth, dtype=np.float64) - numbers)
        absolute, squared = fit_loss(rows, watched, error), fit_loss(rows, watched, error**2)
    else:
        _, given = _answers(outputs, classes, scored)
        codes = [1] if len(classes) == 2 else range(len(classes))
        calibrations = tuple(calibrate(given[:, code], judged.truth == code) for code in codes)
    found = Estimator(n, tuple(classes), scored, calibrations, absolute, squared, {})
    loss = found.expected_loss(frame, outputs)
    if "score" in {column.name for column in columns} and outputs.score is not None:
        rows = rows.assign(score=outputs.score)
    by_cell = {column.name: loss_by_cell(rows, column, loss) for column in columns}
    return replace(found, loss_by_cell=by_cell)


def _answers(outputs: Outputs, classes: Sequence[Hashable], scored: bool) -> tuple[Codes, Floats]:
    """The predicted places (n,), and what the model gave each class (n, k).

    A model without probabilities gives the class that it predicts 1, and the others 0.
    """
    judged = judge(outputs.prediction, outputs, classes)
    prediction = judged.prediction.astype(np.int64)
    if not scored:
        return prediction, np.eye(len(classes))[prediction]
    given = _given(judged)
    if given is None:
        raise DataError(
            f"estimator: {len(judged)} answers lack the probabilities that the version gave of its "
            "holdout; estimate rows that have them"
        )
    return prediction, given


def _given(judged: Judged) -> Floats | None:
    if judged.n_classes == 2 and judged.score is not None:
        return np.column_stack([1 - judged.score, judged.score])
    return judged.probabilities if judged.n_classes > 2 else None


def _with_prediction(frame: pd.DataFrame, outputs: Outputs) -> pd.DataFrame:
    return frame.assign(prediction=np.asarray(outputs.prediction, dtype=np.float64))


def _prediction_cells(numbers: Floats) -> ColumnProfile:
    from mlops_pipelines.measure.profile import Column, reference_profile

    frame = pd.DataFrame({"prediction": numbers})
    return reference_profile(frame, [Column("prediction", "numeric")]).columns[0]


def _loss(found: dict[str, Any] | None) -> AdditiveLoss | None:
    return None if found is None else AdditiveLoss.from_json(found)
