"""The rows behind the version under assessment, and how its model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mlops_pipelines.measure.outputs import Floats, Outputs, Task, positive_last
from mlops_pipelines.serve.predictor import Answer
from mlops_pipelines.train.answers import labels
from mlops_pipelines.train.snapshot import Snapshot


class Answers(Protocol):
    """Whatever answers rows; a Predictor does."""

    def predict_frame(self, frame: pd.DataFrame) -> Answer:
        """Answer the rows of a data frame."""
        ...

    def predict_columns(self, columns: Mapping[str, Any]) -> Answer:
        """Answer the rows of columns, arrays of one length."""
        ...


@dataclass(frozen=True)
class Case:
    """The rows a version was trained on and those held out, all columns among them.

    `metric` judges the model, and a fall by `allowed` (in the metric's unit, of mae and rmse a
    share) is what its declaration calls too much. Everything drawn by chance follows from `seed`.
    """

    snapshot: Snapshot
    train: pd.DataFrame
    holdout: pd.DataFrame
    metric: str
    allowed: float
    seed: int = 0

    @property
    def task(self) -> Task:
        """The task, as `measure` names it."""
        return self.snapshot.task  # type: ignore[return-value]

    @cached_property
    def classes(self) -> tuple[Any, ...]:
        """The labels as metrics expect them: none for a regression, of two the positive last."""
        classes = tuple(self.snapshot.classes or ())
        if len(classes) == 2 and self.snapshot.positive is not None:
            return positive_last(classes, self.snapshot.positive)
        return classes

    @cached_property
    def features(self) -> list[str]:
        """The names of the model's columns."""
        return [column.name for column in self.snapshot.columns]

    @cached_property
    def numeric(self) -> list[str]:
        """The model's columns of numbers that are not the same in all training rows."""
        numbers = [c.name for c in self.snapshot.columns if c.type in ("double", "long")]
        return [name for name in numbers if self.train[name].std() > 0]

    def truth(self, rows: pd.DataFrame) -> np.ndarray:
        """The target of `rows`."""
        return labels(rows, self.snapshot)

    def outputs(self, model: Answers, rows: pd.DataFrame) -> Outputs:
        """What `model` answers, with probabilities in the order of `classes`."""
        answer = model.predict_frame(rows)
        if not self.classes:
            numbers = np.asarray(answer.predictions, dtype=np.float64)
            return Outputs(numbers, numbers, None)
        prediction = np.asarray(answer.predictions, dtype=object)
        if answer.scores is None or answer.probabilities is None:
            return Outputs(prediction, None, None)
        known = list(self.snapshot.classes or ())
        given = np.asarray(answer.probabilities, dtype=np.float64)
        ordered = given[:, [known.index(label) for label in self.classes]]
        return Outputs(prediction, np.asarray(answer.scores, dtype=np.float64), ordered)

    def some(self, rows: pd.DataFrame, most: int) -> pd.DataFrame:
        """At most so many of `rows`, in their order, the same each time."""
        if len(rows) <= most:
            return rows.reset_index(drop=True)
        chosen = np.random.default_rng(self.seed).choice(len(rows), most, replace=False)
        return rows.iloc[np.sort(chosen)].reset_index(drop=True)


@dataclass(frozen=True)
class Numbers:
    """The columns of numbers that may be moved, and how far: spread, bounds, whole or not.

    Each array has one entry per column of `names`; `spread` is the standard deviation of the
    training rows, and no value is moved beyond `low` and `high`, which they have too.
    """

    names: list[str]
    spread: Floats
    low: Floats
    high: Floats
    whole: np.ndarray

    @classmethod
    def of(cls, case: Case) -> Numbers:
        """Those of `case`."""
        values = case.train[case.numeric].to_numpy(dtype=np.float64)
        return cls(
            case.numeric,
            np.nanstd(values, axis=0),
            np.nanmin(values, axis=0),
            np.nanmax(values, axis=0),
            (np.isnan(values) | (values == np.floor(values))).all(axis=0),
        )

    def moved(self, rows: pd.DataFrame, by: Floats) -> tuple[pd.DataFrame, Floats]:
        """`rows` with their numbers moved `by` so many spreads, and how far they came (n, k).

        Nulls stay nulls, and whole numbers whole.
        """
        before = rows[self.names].to_numpy(dtype=np.float64)
        after, came = self.reached(before, by)
        # Built anew: assigning column by column costs more than asking the model.
        columns = {name: rows[name].array for name in rows}
        for place, name in enumerate(self.names):
            columns[name] = after[:, place].astype(rows[name].dtype)
        return pd.DataFrame(columns, index=rows.index), came

    def reached(self, before: Floats, by: Floats) -> tuple[Floats, Floats]:
        """Where numbers (n or 1, k) come to, moved `by` (n, k) spreads, and how far that is."""
        after = before + by * self.spread
        after = np.where(self.whole & (before == np.floor(before)), np.round(after), after)
        after = np.clip(after, np.minimum(self.low, before), np.maximum(self.high, before))
        after = np.where(np.isnan(before), before, after)
        return after, np.nan_to_num((after - before) / self.spread)
