"""Cross-validation on the training split, by time where rows have one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.measure.metrics import evaluate
from mlops_pipelines.spec import Estimator
from mlops_pipelines.train.answers import answer
from mlops_pipelines.train.balance import fit_arguments
from mlops_pipelines.train.snapshot import Snapshot


def cross_validate(
    estimator: Any,
    rows: pd.DataFrame,
    truth: np.ndarray,
    weights: Mapping[Any, float] | None,
    train: pd.DataFrame,
    snapshot: Snapshot,
    settings: Estimator,
    progress: Callable[[str, float], None],
) -> dict[str, tuple[float, float]]:
    """(mean, standard deviation) over the folds of every metric of the task.

    Stratified for classes; rolling forward in time where `train` has an event time, so that no
    fold learns from its future. A fold that lacks a class is left out; a metric that is undefined
    on a fold counts over the others.
    """
    from sklearn.base import clone

    found: dict[str, list[float]] = {}
    folds = list(_folds(truth, train, snapshot, settings))
    for place, (learn, test) in enumerate(folds):
        if snapshot.classes is not None and len(np.unique(truth[learn])) < len(snapshot.classes):
            continue
        model = clone(estimator)
        model.fit(rows.iloc[learn], truth[learn], **fit_arguments(model, truth[learn], weights))
        outputs = answer(model, rows.iloc[test], snapshot)
        metrics = evaluate(
            snapshot.task,  # type: ignore[arg-type]
            truth[test],
            outputs,
            snapshot.classes or (),
            snapshot.positive,
        )
        for name, value in metrics.items():
            found.setdefault(name, []).append(value)
        progress(f"fold {place + 1} of {len(folds)}", 0.8 * (place + 1) / len(folds))
    return {name: (float(np.mean(v)), float(np.std(v))) for name, v in found.items()}


def _folds(
    truth: np.ndarray, train: pd.DataFrame, snapshot: Snapshot, settings: Estimator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import KFold, StratifiedKFold, TimeSeriesSplit

    count, seed = settings.cross_validation, settings.seed
    if snapshot.event_time is not None:
        if 2 <= count < len(train):
            order = np.argsort(train[snapshot.event_time].to_numpy(), kind="stable")
            for learn, test in TimeSeriesSplit(count).split(order):
                yield order[learn], order[test]
        return
    if snapshot.classes is None:
        count = min(count, len(train))
        if count >= 2:
            yield from KFold(count, shuffle=True, random_state=seed).split(truth)
        return
    count = min(count, int(np.unique(truth, return_counts=True)[1].min()))
    if count >= 2:
        splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
        yield from splitter.split(np.zeros(len(truth)), truth)
