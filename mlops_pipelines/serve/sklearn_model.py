"""An estimator of scikit-learn, read by skops: no pickle is ever loaded."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.serve.bundle import Bundle, BundleError, Column, bind_user_code
from mlops_pipelines.serve.predictor import Answer, ModelError
from mlops_pipelines.serve.table import Table

# From so many rows on, what a data frame costs no longer shows.
MANY_ROWS = 64
# Their binary `predict` is the larger of the two probabilities, by scikit-learn's source.
LARGER_PROBABILITY = {
    "ExtraTreesClassifier",
    "HistGradientBoostingClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
}


class SklearnModel:
    """One fitted estimator.

    `sample` are a few rows that tell whether it answers a bare matrix as it answers a data frame.
    """

    def __init__(self, meta: Bundle, estimator: Any, sample: Sequence[Sequence[Any]] = ()) -> None:
        self._meta = meta
        self.estimator = estimator
        self._proba = meta.classes is not None and hasattr(estimator, "predict_proba")
        final = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        self._larger = (
            self._proba
            and meta.task == "binary_classification"
            and type(final).__module__.startswith("sklearn.")
            and type(final).__name__ in LARGER_PROBABILITY
        )
        self._only_doubles = all(column.type == "double" for column in meta.columns)
        self._takes_matrix = self._agrees_on_a_matrix(sample[:MANY_ROWS])

    @classmethod
    def load(cls, meta: Bundle, sample: Sequence[Sequence[Any]]) -> SklearnModel:
        """The model of a bundle. Raises BundleError: it holds a type that is not trusted."""
        import skops.io
        from skops.io.exceptions import UntrustedTypesFoundException

        path = meta.path / "model.skops"
        bind_user_code(meta.path)
        writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            # Compiled code beside the model's own would be a file that no manifest lists.
            estimator = skops.io.load(path, trusted=list(meta.trusted_types))
        except UntrustedTypesFoundException as exc:
            raise BundleError(
                f"{path} holds types that are not trusted: {_first_line(exc)}"
            ) from exc
        except Exception as exc:
            raise BundleError(f"{path} cannot be loaded: {_first_line(exc)}") from exc
        finally:
            sys.dont_write_bytecode = writes
        return cls(meta, estimator, sample)

    def answer(self, values: Sequence[Sequence[Any]]) -> Answer:
        """Answer rows in the signature's order, None for null. Raises ModelError."""
        if self._takes_matrix and len(values) <= MANY_ROWS:
            return self._answer_matrix(values)
        columns = list(zip(*values, strict=True)) or [()] * len(self._meta.names)
        return self.answer_columns(dict(zip(self._meta.names, columns, strict=True)))

    def answer_columns(self, columns: Mapping[str, Any]) -> Answer:
        """Answer the rows of columns (lists, or those of a data frame). Raises ModelError."""
        return self._answer(self._frame(columns))

    def answer_table(self, table: Table) -> Answer:
        """Answer the rows of a table. Raises ModelError."""
        return self.answer_columns(dict(zip(self._meta.names, table.columns(), strict=True)))

    def _agrees_on_a_matrix(self, sample: Sequence[Sequence[Any]]) -> bool:
        """Whether the estimator answers a bare matrix as it answers a frame, to the last bit.

        scikit-learn takes twice as long over a single-row frame; an estimator that picks columns
        by name or type refuses a matrix, and the sample tells.
        """
        if not sample or not self._only_doubles:
            return False
        with contextlib.suppress(ModelError):
            columns = zip(self._meta.names, zip(*sample, strict=True), strict=True)
            return self._answer_matrix(sample) == self.answer_columns(dict(columns))
        return False

    def _answer_matrix(self, values: Sequence[Sequence[Any]]) -> Answer:
        # Column by column in memory, as in a frame: the last bit of a sum in BLAS follows from it.
        matrix = np.array(values, dtype=float, order="F")
        with warnings.catch_warnings():
            # A matrix has no feature names; that it is answered alike was checked.
            warnings.simplefilter("ignore")
            return self._answer(matrix)

    def _frame(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        if self._only_doubles:
            matrix = np.array([columns[name] for name in self._meta.names], dtype=float).T
            return pd.DataFrame(matrix, columns=list(self._meta.names))
        return pd.DataFrame({c.name: _series(c, columns[c.name]) for c in self._meta.columns})

    def _answer(self, rows: Any) -> Answer:
        try:
            return self._ask(rows)
        except Exception as exc:
            raise ModelError(type(exc).__name__) from exc

    def _ask(self, rows: Any) -> Answer:
        meta = self._meta
        if not self._proba:
            predictions = np.asarray(self.estimator.predict(rows)).reshape(-1).tolist()
            scores = [float(p) for p in predictions] if meta.task == "regression" else None
            return Answer(predictions, scores, None)
        probabilities = np.asarray(self.estimator.predict_proba(rows), dtype=float)
        classes = meta.classes or ()
        if self._larger and not (probabilities[:, 0] == probabilities[:, 1]).any():
            predictions = [classes[index] for index in probabilities.argmax(axis=1)]
        else:
            predictions = np.asarray(self.estimator.predict(rows)).tolist()
        if meta.task == "binary_classification":
            positive = classes.index(meta.positive) if meta.positive is not None else 1
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


def _first_line(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]
