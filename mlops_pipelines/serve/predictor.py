"""The model of one bundle, answering rows with plain Python values."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.serve.bundle import (
    Bundle,
    BundleError,
    Column,
    bind_user_code,
    read_bundle,
    read_json,
)

__all__ = ["Answer", "Bundle", "BundleError", "ModelError", "Predictor"]

# From so many rows on, what a data frame costs no longer shows.
MANY_ROWS = 64
# Training and serving may run on different processors.
GOLDEN_TOLERANCE = 1e-6
# Their binary `predict` is the larger of the two probabilities, by scikit-learn's source.
LARGER_PROBABILITY = {
    "ExtraTreesClassifier",
    "HistGradientBoostingClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
}


class ModelError(Exception):
    """The estimator raised; `str()` is the cause's type alone, for its text may quote a row."""


@dataclass(frozen=True)
class Answer:
    """A model's answer to n rows; every list has n entries.

    `scores` is P(positive class) for a binary model, P(predicted class) for a multiclass one, the
    prediction itself for a regression, and None where the estimator knows no probabilities.
    """

    predictions: list[Any]
    scores: list[float] | None
    probabilities: list[list[float]] | None


class Predictor:
    """One bundle's estimator, loaded; `meta` is what the bundle says about itself."""

    def __init__(self, meta: Bundle, estimator: Any, golden: dict[str, Any]) -> None:
        self.meta = meta
        self._estimator = estimator
        self._golden = golden
        self._proba = meta.classes is not None and hasattr(estimator, "predict_proba")
        final = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        self._larger = (
            self._proba
            and meta.task == "binary_classification"
            and type(final).__module__.startswith("sklearn.")
            and type(final).__name__ in LARGER_PROBABILITY
        )
        self._takes_matrix = False
        self._takes_matrix = self._agrees_on_a_matrix()

    @classmethod
    def load(cls, bundle: Path, verify: bool = False) -> Predictor:
        """The predictor of the bundle in this folder; `verify` hashes every file first.

        Raises BundleError: a file is missing, altered, or holds a type that is not trusted.
        """
        import skops.io
        from skops.io.exceptions import UntrustedTypesFoundException

        path = bundle.absolute()
        meta = read_bundle(path, verify)
        golden = read_json(path, "golden.json")
        bind_user_code(path)
        try:
            estimator = skops.io.load(path / "model.skops", trusted=list(meta.trusted_types))
        except UntrustedTypesFoundException as exc:
            raise BundleError(
                f"{path}/model.skops holds types that are not trusted: {_first_line(exc)}"
            ) from exc
        except Exception as exc:
            raise BundleError(f"{path}/model.skops cannot be loaded: {_first_line(exc)}") from exc
        return cls(meta, estimator, golden)

    def predict(self, columns: Mapping[str, Sequence[Any]]) -> Answer:
        """Answer the rows of `columns`: every feature by name, all of one length, None for null.

        Raises ModelError.
        """
        if self._takes_matrix and len(columns[self.meta.names[0]]) <= MANY_ROWS:
            with warnings.catch_warnings():
                # A matrix has no feature names; that it is answered alike was checked.
                warnings.simplefilter("ignore")
                return self._answer(self._matrix(columns))
        return self._answer(self._frame(columns))

    def predict_frame(self, frame: pd.DataFrame) -> Answer:
        """Answer the rows of a data frame; columns beyond the signature are left aside.

        Raises BundleError naming the columns that are missing, and ModelError.
        """
        missing = [name for name in self.meta.names if name not in frame.columns]
        if missing:
            raise BundleError(f"{self.meta.model} v{self.meta.version}: no columns {missing}")
        return self._answer(self._frame({name: frame[name] for name in self.meta.names}))

    def answer_golden(self, first: int | None = None) -> Answer:
        """Answer the golden rows of the bundle, or only so many of them."""
        rows = self._golden["rows"][:first]
        return self.predict({c: [r[i] for r in rows] for i, c in enumerate(self.meta.names)})

    def disagreement(self) -> str | None:
        """How the answers to the golden rows differ from the training-time ones; None if not."""
        try:
            answer = self.answer_golden()
        except ModelError as exc:
            return f"the model fails on its golden rows: {exc}"
        expected = (self._golden["predictions"], self._golden["scores"])
        found = (answer.predictions, answer.scores)
        for what, then, now in zip(("predictions", "scores"), expected, found, strict=True):
            if (then is None) != (now is None) or len(then or ()) != len(now or ()):
                return f"golden {what}: {_count(then)} at training time, {_count(now)} now"
            pairs = zip(then or (), now or (), strict=True)
            wrong = [str(row) for row, (a, b) in enumerate(pairs) if not _alike(a, b)]
            if wrong:
                return f"{len(wrong)} golden {what} differ: rows {', '.join(wrong[:5])}"
        return None

    def _agrees_on_a_matrix(self) -> bool:
        """Whether the estimator answers a bare matrix as it answers a frame, to the last bit.

        scikit-learn takes twice as long over a single-row frame; an estimator that picks columns
        by name or type refuses a matrix, and the golden rows tell.
        """
        if any(column.type != "double" for column in self.meta.columns):
            return False
        with contextlib.suppress(ModelError):
            by_frame = self.answer_golden(MANY_ROWS)
            self._takes_matrix = True
            return self.answer_golden(MANY_ROWS) == by_frame
        return False

    def _matrix(self, columns: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        """Rows × features, column by column in memory as in a frame read from Parquet.

        The last bit of a sum in BLAS depends on the layout.
        """
        return np.array([columns[name] for name in self.meta.names], dtype=float).T

    def _frame(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        if all(column.type == "double" for column in self.meta.columns):
            return pd.DataFrame(self._matrix(columns), columns=list(self.meta.names))
        return pd.DataFrame({c.name: _series(c, columns[c.name]) for c in self.meta.columns})

    def _answer(self, rows: Any) -> Answer:
        try:
            return self._ask(rows)
        except Exception as exc:
            raise ModelError(type(exc).__name__) from exc

    def _ask(self, rows: Any) -> Answer:
        if not self._proba:
            predictions = np.asarray(self._estimator.predict(rows)).reshape(-1).tolist()
            scores = [float(p) for p in predictions] if self.meta.task == "regression" else None
            return Answer(predictions, scores, None)
        probabilities = np.asarray(self._estimator.predict_proba(rows), dtype=float)
        classes = self.meta.classes or ()
        if self._larger and not (probabilities[:, 0] == probabilities[:, 1]).any():
            predictions = [classes[index] for index in probabilities.argmax(axis=1)]
        else:
            predictions = np.asarray(self._estimator.predict(rows)).tolist()
        if self.meta.task == "binary_classification":
            positive = classes.index(self.meta.positive) if self.meta.positive is not None else 1
            scores = probabilities[:, positive].tolist()
        else:
            at = {label: index for index, label in enumerate(classes)}
            scores = [
                float(row[at[label]]) for row, label in zip(probabilities, predictions, strict=True)
            ]
        return Answer(predictions, scores, probabilities.tolist())


def _series(column: Column, values: Any) -> pd.Series[Any]:
    """One column as pandas reads it from Parquet, so that training and serving see one type.

    The type follows from the signature alone, never from the nulls of one request.
    """
    values = pd.Series(values).reset_index(drop=True)
    if column.type == "string":
        return values.astype("str").where(values.notna(), None).astype("str")
    if column.type == "boolean":
        if not column.nullable:
            return values.astype(bool)
        return values.astype(object).where(values.notna(), None)
    if column.type == "long" and not column.nullable:
        return values.astype("int64")
    return values.astype("float64")


def _alike(then: Any, now: Any) -> bool:
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=GOLDEN_TOLERANCE, abs_tol=GOLDEN_TOLERANCE)
    return bool(then == now)


def _count(values: list[Any] | None) -> int:
    return len(values or ())


def _first_line(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]
