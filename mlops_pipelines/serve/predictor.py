"""The model of one bundle, answering rows with plain Python values."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_pipelines.serve.bundle import (
    ONNX_RUNTIME,
    SCIKIT_LEARN,
    Bundle,
    BundleError,
    read_bundle,
    read_json,
)
from mlops_pipelines.serve.table import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Answer", "Bundle", "BundleError", "ModelError", "Predictor"]

# Training and serving may run on different processors.
GOLDEN_TOLERANCE = 1e-6
# Rows that are asked one by one, in groups of these sizes, and all at once. Another last bit shows
# in few rows only, so the more the better; scikit-learn takes fifty times as long over each.
ALONE = {ONNX_RUNTIME: 200, SCIKIT_LEARN: 24}
TOGETHER = (2, 3, 8)


class ModelError(Exception):
    """The model raised; `str()` is the cause's type alone, for its text may quote a row."""


@dataclass(slots=True)
class Answer:
    """A model's answer to n rows; every list has n entries.

    `scores` is P(positive class) for a binary model, P(predicted class) for a multiclass one, the
    prediction itself for a regression, and None where the estimator knows no probabilities.
    """

    predictions: list[Any]
    scores: list[float] | None
    probabilities: list[list[float]] | None

    def part(self, start: int, end: int) -> Answer:
        """The answer to the rows from `start` up to `end`."""
        return Answer(
            self.predictions[start:end],
            None if self.scores is None else self.scores[start:end],
            None if self.probabilities is None else self.probabilities[start:end],
        )


class Model(Protocol):
    """A model in memory, whatever runs it. All methods raise ModelError."""

    def answer(self, values: Sequence[Sequence[Any]]) -> Answer:
        """Answer rows in the signature's order, None for null."""
        ...

    def answer_columns(self, columns: Mapping[str, Any]) -> Answer:
        """Answer the rows of columns (lists, or those of a data frame)."""
        ...

    def answer_table(self, table: Table) -> Answer:
        """Answer the rows of a table."""
        ...


class Predictor:
    """One bundle's model, loaded; `meta` is what the bundle says about itself."""

    def __init__(self, meta: Bundle, model: Model, golden: dict[str, Any]) -> None:
        self.meta = meta
        self.predict_rows = model.answer
        """Answer rows in the signature's order, None for null. Raises ModelError."""
        self.predict_table = model.answer_table
        """Answer the rows of a table. Raises ModelError."""
        self._model = model
        self._golden = golden

    @classmethod
    def load(cls, bundle: Path, verify: bool = False) -> Predictor:
        """The predictor of the bundle in this folder; `verify` hashes every file first.

        Raises BundleError: a file is missing, altered, or holds a type that is not trusted.
        """
        path = bundle.absolute()
        meta = read_bundle(path, verify)
        golden = read_json(path, "golden.json")
        if meta.runtime.name == ONNX_RUNTIME:
            from mlops_pipelines.serve.onnx_model import OnnxModel

            return cls(meta, OnnxModel.load(meta), golden)
        from mlops_pipelines.serve.sklearn_model import SklearnModel

        return cls(meta, SklearnModel.load(meta, golden["rows"]), golden)

    @property
    def runtime(self) -> str:
        """What answers: onnxruntime or scikit-learn."""
        return self.meta.runtime.name

    @cached_property
    def batch_invariant(self) -> bool:
        """Whether rows are answered alike alone and in groups, to the last bit.

        The rows are made of the golden ones, each value from any of them.
        """
        golden = self._golden["rows"]
        if not golden:
            return False
        columns = list(zip(*golden, strict=True))
        choice = random.Random(0).choice  # noqa: S311 (no secret is made of it)
        rows = [[choice(column) for column in columns] for _ in range(ALONE[self.runtime])]
        try:
            whole = self.predict_rows(rows)
            return all(
                self.predict_rows(rows[start : start + size]) == whole.part(start, start + size)
                for size in (*TOGETHER, 1)
                for start in range(0, len(rows), size)
            )
        except ModelError:
            return False

    def predict_frame(self, frame: pd.DataFrame) -> Answer:
        """Answer the rows of a data frame; columns beyond the signature are left aside.

        Raises BundleError naming the columns that are missing, and ModelError.
        """
        return self.predict_columns(frame)

    def predict_columns(self, columns: Mapping[str, Any] | pd.DataFrame) -> Answer:
        """As `predict_frame`, of columns by name, each a list or an array of one length."""
        missing = [name for name in self.meta.names if name not in columns]
        if missing:
            raise BundleError(f"{self.meta.model} v{self.meta.version}: no columns {missing}")
        return self._model.answer_columns({name: columns[name] for name in self.meta.names})

    def answer_golden(self, first: int | None = None) -> Answer:
        """Answer the golden rows of the bundle, or only so many of them. Raises ModelError."""
        return self.predict_rows(self._golden["rows"][:first])

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
            wrong = [str(row) for row, (a, b) in enumerate(pairs) if not self._alike(a, b)]
            if wrong:
                return f"{len(wrong)} golden {what} differ: rows {', '.join(wrong[:5])}"
        return None

    def _alike(self, then: Any, now: Any) -> bool:
        if isinstance(then, float) and isinstance(now, float):
            runtime = self.meta.runtime
            tolerance = max(GOLDEN_TOLERANCE, runtime.tolerance or 0.0)
            return math.isclose(then, now, rel_tol=tolerance, abs_tol=tolerance * runtime.scale)
        return bool(then == now)


def _count(values: list[Any] | None) -> int:
    return len(values or ())
