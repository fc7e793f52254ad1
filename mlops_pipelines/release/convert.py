"""Decides what serves a model: ONNX Runtime where it answers as scikit-learn does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_pipelines.release.graph import graphs
from mlops_pipelines.serve.bundle import ONNX_RUNTIME, SCIKIT_LEARN, Bundle, Runtime
from mlops_pipelines.serve.predictor import ModelError
from mlops_pipelines.train.estimator import last_step
from mlops_pipelines.train.quietly import quietly

if TYPE_CHECKING:
    from mlops_pipelines.serve.predictor import Model

TOLERANCE = 1e-5
"""Largest difference that counts as agreeing; float32 keeps 7 digits, and sums lose some."""
ROWS_AT_ONCE = 20_000

ALTERED = 0.2
"""Share of a column's values that are altered, to compare what the holdout may not hold."""
SEED = 0
UNKNOWN = "a category that was never trained on"


@dataclass(frozen=True)
class Conversion:
    """What is to serve a model, and the ONNX graph where that is ONNX Runtime."""

    runtime: Runtime
    graph: bytes | None = None


@dataclass(frozen=True)
class Difference:
    """How answers to the same rows compare: rows that differ, and the largest difference."""

    differing: int
    largest: float

    @property
    def agrees(self) -> bool:
        """Whether they are the same answers."""
        return self.differing == 0 and self.largest <= TOLERANCE


def kept(reason: str) -> Conversion:
    """The model stays with scikit-learn, without a comparison."""
    return Conversion(Runtime(SCIKIT_LEARN, reason))


def convert(estimator: Any, meta: Bundle, holdout: pd.DataFrame) -> Conversion:
    """Convert `estimator`, and compare the two on all rows of `holdout` (the model's columns).

    They are compared once more with nulls and unknown categories put where requests may have them.
    Of the ways to convert, the first that agrees is taken: doubles come before floats.
    """
    if any(column.type == "string" and column.nullable for column in meta.columns):
        return kept("a text column may be null, and ONNX has no null strings")
    with quietly():
        from mlops_pipelines.serve.sklearn_model import SklearnModel

        truth = SklearnModel(meta, estimator)
        altered = _altered(holdout, meta)
        try:
            compared = [(holdout, _answers(truth, holdout, meta))]
            if altered is not None:
                compared.append((altered, _answers(truth, altered, meta)))
        except ModelError as error:
            return kept(f"scikit-learn refuses rows that ONNX Runtime would answer ({error})")
        scale = _scale(compared[0][1], meta)
        found, failure = _tried(estimator, meta, compared, scale)
    if not found:
        name = type(last_step(estimator)).__name__
        return kept(f"ONNX Runtime cannot serve this {name} ({failure})")
    best, graph = min(found, key=lambda each: (each[0].differing, each[0].largest))
    also = "" if altered is None else ", also with nulls and unknown categories put in,"
    beside = f"{len(holdout)} holdout rows{also}"
    measured = (best.largest, best.differing, len(holdout))
    if best.agrees:
        reason = (
            f"it answers {beside} as scikit-learn does, to {best.largest:.2g} "
            f"({TOLERANCE:g} is allowed)"
        )
        return Conversion(Runtime(ONNX_RUNTIME, reason, TOLERANCE, scale, *measured), graph)
    reason = (
        f"ONNX Runtime answers {beside} otherwise: {best.differing} with another prediction, "
        f"numbers apart by up to {best.largest:.2g} ({TOLERANCE:g} is allowed)"
    )
    return Conversion(Runtime(SCIKIT_LEARN, reason, None, 1.0, *measured))


def _tried(
    estimator: Any,
    meta: Bundle,
    compared: list[tuple[pd.DataFrame, _Answers]],
    scale: float,
) -> tuple[list[tuple[Difference, bytes]], str]:
    """Each graph that runs, until one agrees; and why the first of the others does not."""
    from mlops_pipelines.serve.onnx_model import OnnxModel

    found: list[tuple[Difference, bytes]] = []
    failure = ""
    for make in graphs(estimator, meta.columns):
        try:
            graph = make()
            model = OnnxModel(meta, graph)
            parts = [
                _difference(answers, _answers(model, rows, meta), scale)
                for rows, answers in compared
            ]
        except Exception as error:  # noqa: BLE001 (skl2onnx raises what an estimator makes it raise)
            named = str(error) if isinstance(error, ModelError) else type(error).__name__
            failure = failure or named
            continue
        whole = Difference(sum(p.differing for p in parts), max(p.largest for p in parts))
        found.append((whole, graph))
        if whole.agrees:
            break
    return found, failure


@dataclass(frozen=True)
class _Answers:
    """n labels (none of a regression), and n × k probabilities, or n × 1 predicted numbers."""

    labels: list[Any]
    numbers: np.ndarray[Any, Any]


def _answers(model: Model, rows: pd.DataFrame, meta: Bundle) -> _Answers:
    labels: list[Any] = []
    numbers: list[np.ndarray[Any, Any]] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows.iloc[start : start + ROWS_AT_ONCE]
        answer = model.answer_columns({name: part[name] for name in meta.names})
        if meta.task == "regression":
            numbers.append(np.asarray(answer.predictions, np.float64).reshape(-1, 1))
            continue
        labels.extend(answer.predictions)
        # Without probabilities there are no numbers to compare.
        shares = np.asarray(answer.probabilities or [[]] * len(part), np.float64)
        numbers.append(shares.reshape(len(part), -1) if shares.size else shares)
    return _Answers(labels, np.concatenate(numbers))


def _difference(theirs: _Answers, ours: _Answers, scale: float) -> Difference:
    if theirs.numbers.shape != ours.numbers.shape:
        return Difference(len(theirs.numbers), 0.0)
    size = np.maximum(np.abs(theirs.numbers), scale) if not theirs.labels else 1.0
    apart = np.abs(theirs.numbers - ours.numbers) / size
    known = np.isfinite(apart)
    wrong = ~known.all(axis=1)
    if theirs.labels:
        wrong |= np.fromiter(map(_unlike, theirs.labels, ours.labels), bool, len(wrong))
    return Difference(int(wrong.sum()), float(apart[known].max(initial=0.0)))


def _unlike(a: Any, b: Any) -> bool:
    return bool(a != b)


def _scale(answers: _Answers, meta: Bundle) -> float:
    """How large a regression's predictions are, so that one near 0 is not asked for too much."""
    if meta.task != "regression":
        return 1.0
    return float(f"{np.abs(answers.numbers).mean():.3g}") or 1.0


def _altered(holdout: pd.DataFrame, meta: Bundle) -> pd.DataFrame | None:
    """The holdout with nulls and unknown categories; None where requests can have neither."""
    rng = np.random.default_rng(SEED)
    altered: dict[str, pd.Series[Any]] = {}
    for column in meta.columns:
        chosen = rng.random(len(holdout)) < ALTERED
        if column.type == "string" and column.levels is None:
            altered[column.name] = holdout[column.name].astype(object).mask(chosen, UNKNOWN)
        elif column.nullable:
            altered[column.name] = holdout[column.name].astype(object).mask(chosen, None)
    return holdout.assign(**altered) if altered else None
