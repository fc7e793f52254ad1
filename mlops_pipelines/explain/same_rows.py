"""Two versions asked about the same rows: how often and how far their answers differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_pipelines.errors import DataError, ReleaseError
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.serve.predictor import Predictor
    from mlops_pipelines.train.registry import Registry

SAME = 1e-9
"""Predictions of a regression are the same within this share of their size."""


@dataclass(frozen=True)
class SameRows:
    """How two versions answer the n holdout rows of `holdout_of`, which neither was trained on.

    `differing` counts rows with another label, or another number; score differences are of
    probabilities (the largest of a row's classes), or of a regression's numbers. `improvement` of
    the second version over the first, with its 95 % interval, is in the main metric's unit.
    """

    holdout_of: int
    rows: int
    differing: int
    score_difference_mean: float | None
    score_difference_max: float | None
    metric: str
    before: float | None
    after: float | None
    improvement: float | None
    low: float | None
    high: float | None

    @property
    def share(self) -> float:
        """Of rows with another answer."""
        return self.differing / self.rows if self.rows else 0.0


def compare(
    registry: Registry, store: Store, spec: ModelSpec, before: int, after: int, digest: str
) -> SameRows:
    """Let the bundles of `before` and `after` answer the holdout of the newer, of this snapshot.

    Raises ReleaseError where a bundle is gone or cannot answer these rows, NotFoundError where
    the rows are gone.
    """
    from mlops_pipelines.release.bundle import open_predictor
    from mlops_pipelines.release.evaluate import evaluate
    from mlops_pipelines.serve.predictor import BundleError, ModelError
    from mlops_pipelines.train.snapshot import load_snapshot, read_rows

    snapshot = load_snapshot(store, spec.name, digest)
    holdout = read_rows(store, snapshot).holdout
    first, second = (
        open_predictor(registry, store, spec.name, version) for version in (before, after)
    )
    try:
        labels, scores = zip(*(_answers(each, holdout) for each in (first, second)), strict=True)
        found = evaluate(spec, snapshot, holdout, second, first, before)
    except (BundleError, DataError, ModelError) as error:
        raise ReleaseError(
            f"{spec.name}: versions {before} and {after} cannot answer the same rows: {error}"
        ) from error
    difference = found.differences.get(spec.main_metric)
    apart = _apart(first, second, *scores)
    return SameRows(
        holdout_of=max(before, after),
        rows=len(holdout),
        differing=_differing(*labels),
        score_difference_mean=None if apart is None else float(apart.mean()),
        score_difference_max=None if apart is None else float(apart.max()),
        metric=spec.main_metric,
        before=None if difference is None else difference.b,
        after=found.metrics.get(spec.main_metric),
        improvement=None if difference is None else difference.improvement,
        low=None if difference is None else difference.low,
        high=None if difference is None else difference.high,
    )


def _answers(predictor: Predictor, rows: Any) -> tuple[list[Any], np.ndarray[Any, Any] | None]:
    """Labels, and probabilities (n, classes) or numbers (n, 1)."""
    answer = predictor.predict_frame(rows)
    labels = list(answer.predictions)
    if predictor.meta.classes is None:
        return labels, np.asarray(labels, dtype=np.float64)[:, None]
    probabilities = answer.probabilities
    return labels, None if probabilities is None else np.asarray(probabilities, dtype=np.float64)


def _differing(first: list[Any], second: list[Any]) -> int:
    if first and isinstance(first[0], float):
        a, b = np.array(first), np.array(second, dtype=np.float64)
        return int((np.abs(a - b) > SAME * np.maximum(1.0, np.abs(a))).sum())
    return sum(a != b for a, b in zip(first, second, strict=True))


def _apart(
    first: Predictor,
    second: Predictor,
    a: np.ndarray[Any, Any] | None,
    b: np.ndarray[Any, Any] | None,
) -> np.ndarray[Any, Any] | None:
    """By how much each row's scores differ (n,); None where one has none, or other classes."""
    if a is None or b is None or not len(a) or first.meta.classes != second.meta.classes:
        return None
    apart: np.ndarray[Any, Any] = np.abs(a - b).max(axis=1)
    return apart
