"""How the previous version answers the same rows, by replay of what was logged of them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.estimate import paired_losses
from mlops_pipelines.measure.intervals import PairedDifference, paired_bootstrap
from mlops_pipelines.measure.outputs import Floats, Outputs
from mlops_pipelines.monitor.outcome import Outcome

if TYPE_CHECKING:
    from mlops_pipelines.measure.estimator import Estimator
    from mlops_pipelines.serve.predictor import Predictor

_SEED = 0


@dataclass(frozen=True)
class Replayed:
    """What version `version` answers to rows that another one answered, in its classes' order.

    `outputs` is None where it cannot be compared, and `why` then says so.
    """

    version: int
    outputs: Outputs | None
    why: str = ""


def replay(own: Outcome, predictor: Predictor, version: int) -> Replayed:
    """Let the predictor of `version` answer the rows of `own`."""
    from mlops_pipelines.serve.predictor import BundleError, ModelError

    name = f"version {version}"
    missing = [column for column in predictor.meta.names if column not in own.rows.columns]
    if missing:
        lacks = f"the log lacks its columns {', '.join(missing)}"
        return Replayed(version, None, f"{name} cannot be compared: {lacks}")
    ordered = tuple(predictor.meta.classes or ())
    if set(ordered) - set(own.classes) if own.classes else ordered:
        return Replayed(version, None, f"{name} cannot be compared: its classes are other ones")
    try:
        answer = predictor.predict_frame(own.rows)
        outputs = _outputs(answer.predictions, answer.scores, answer.probabilities, ordered, own)
    except (BundleError, ModelError, TypeError, ValueError) as error:
        return Replayed(version, None, _raised(version, error))
    return Replayed(version, outputs)


def compare_realised(
    metric: str, own: Outcome, theirs: Replayed
) -> tuple[PairedDifference | None, str]:
    """How much better the previous version does on labelled rows, and that in words."""
    if theirs.outputs is None:
        return None, theirs.why
    try:
        found = paired_bootstrap(
            metric, own.truth, theirs.outputs, own.outputs, own.classes, seed=_SEED
        )
    except (DataError, TypeError, ValueError) as error:
        return None, _raised(theirs.version, error)
    return found, _said(theirs.version, found)


def compare_estimated(
    own: Outcome,
    expected: Floats,
    theirs: Replayed,
    estimator: Estimator,
    deviation: float,
) -> tuple[PairedDifference | None, str]:
    """The same where no label is in: the loss that each version's own estimator expects per row.

    `expected` (n,) is that of the rows of `own`; `deviation` is the standard deviation of the
    error that the estimates of the two have shown together, by which the interval is widened.
    """
    if theirs.outputs is None:
        return None, theirs.why
    try:
        loss = estimator.expected_loss(own.rows, theirs.outputs)
    except (DataError, TypeError, ValueError) as error:
        return None, _raised(theirs.version, error)
    found = paired_losses(loss, expected, deviation, seed=_SEED)
    return found, f"{_said(theirs.version, found)}, as estimated"


def answers(theirs: Replayed | None, n: int) -> pd.Series[Any]:
    """The previous version's answer to each of the n rows, None where there is none."""
    if theirs is None or theirs.outputs is None:
        return pd.Series([None] * n, dtype=object)
    return pd.Series(theirs.outputs.prediction.tolist(), dtype=object)


def _said(version: int, found: PairedDifference) -> str:
    verdict = "clearly better" if found.clearly_better else "not clearly better"
    return (
        f"version {version} is {verdict} on the same rows: {found.a:.4g}, "
        f"by {found.improvement:.4g} ({found.low:.4g} to {found.high:.4g})"
    )


def _raised(version: int, error: Exception) -> str:
    kind = type(error).__name__
    return f"version {version} cannot be compared: it raised {kind} on these rows"


def _outputs(
    predictions: list[Any],
    scores: list[float] | None,
    probabilities: list[list[float]] | None,
    ordered: tuple[Hashable, ...],
    own: Outcome,
) -> Outputs:
    """Another model's answer in the order of the outcome's classes."""
    if not own.classes:
        numbers = np.asarray(predictions, dtype=np.float64)
        return Outputs(numbers, numbers)
    labels = np.empty(len(predictions), dtype=object)
    labels[:] = predictions
    shares = None
    if probabilities is not None:
        shares = np.zeros((len(predictions), len(own.classes)))
        given = np.asarray(probabilities, dtype=np.float64)
        for place, label in enumerate(ordered):
            shares[:, own.classes.index(label)] = given[:, place]
    return Outputs(labels, None if scores is None else np.asarray(scores, dtype=np.float64), shares)
