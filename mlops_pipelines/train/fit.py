"""Fits the declared estimator on a snapshot's training split, and says how well it did."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.metrics import evaluate
from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.answers import answer, golden, labels
from mlops_pipelines.train.balance import balance, class_weights, fit_arguments, imbalance
from mlops_pipelines.train.cross_validation import cross_validate
from mlops_pipelines.train.curves import loss_curves, too_many_stages
from mlops_pipelines.train.effort import measured
from mlops_pipelines.train.estimator import build_estimator, last_step
from mlops_pipelines.train.overfit import Overfit, judge_gap
from mlops_pipelines.train.snapshot import Snapshot, features
from mlops_pipelines.train.trust import trusted_types

__all__ = ["Fitted", "Overfit", "fit"]

Progress = Callable[[str, float], None]

_MANY_ROWS = 50_000


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator and everything that was seen while fitting it.

    `outputs` answers the holdout, whose labels are `truth`; `metrics` are the holdout's.
    `cross_validation` holds (mean, standard deviation) over the folds of the training split.
    `curves` has one value per iteration. `seconds`, `cpu_seconds` and `peak_memory_mb` (MiB of
    this process) are those of the fit and the cross-validation. `golden` are rows with their
    answers, for the bundle. `params` is flat; `folder` is where the declaration lies; `warnings`
    are sentences.
    """

    estimator: Any
    outputs: Outputs
    truth: np.ndarray
    metrics: dict[str, float]
    train_metrics: dict[str, float]
    cross_validation: dict[str, tuple[float, float]]
    curves: dict[str, list[float]]
    overfit: Overfit
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    class_weights: dict[Any, float] | None
    params: dict[str, Any]
    trusted_types: tuple[str, ...]
    golden: dict[str, Any]
    warnings: tuple[str, ...]
    folder: Path


def fit(
    spec: ModelSpec,
    snapshot: Snapshot,
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    root: Path,
    folder: Path,
    *,
    python: str | None = None,
    params: Mapping[str, Any] | None = None,
    on_progress: Progress | None = None,
) -> Fitted:
    """Fit on `train`, judge on `holdout`.

    `python` and `params` stand in for the declaration's own; a `python` without `params` has none.
    `on_progress` is told the step and the share that is done, 0 to 1. Raises DataError.
    """
    from threadpoolctl import threadpool_limits

    path = python or spec.estimator.python
    if params is None:
        params = spec.estimator.params if python is None else {}
    estimator = build_estimator(spec, snapshot.columns, root, folder, path, params)
    # Threads that wait for each other on busy cores cost a small fit more than they give. Only
    # libraries that are loaded by now are limited.
    with threadpool_limits(1 if len(train) < _MANY_ROWS else None):
        progress = on_progress or (lambda *_: None)
        return _fit(spec, snapshot, train, holdout, root, folder, path, estimator, progress)


def _fit(
    spec: ModelSpec,
    snapshot: Snapshot,
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    root: Path,
    folder: Path,
    path: str,
    estimator: Any,
    progress: Progress,
) -> Fitted:
    weighted = spec.estimator.balance == "weights"
    by_row = balance(estimator, spec) if weighted else False
    rows, truth = features(train, snapshot), labels(train, snapshot)
    weights = class_weights(truth) if weighted else None
    row_weights = weights if by_row else None
    said = [] if weighted or snapshot.classes is None else [imbalance(truth)]
    with measured() as effort, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        progress("fitting", 0.0)
        with _naming(path):
            folds = cross_validate(
                estimator, rows, truth, row_weights, train, snapshot, spec.estimator, progress
            )
            progress("fitting", 0.8)
            estimator.fit(rows, truth, **fit_arguments(estimator, truth, row_weights))
    said += sorted({_sentence(one) for one in caught if _tells(one)})

    progress("judging", 0.9)
    _check_classes(estimator, snapshot, path)
    with _naming(path):
        outputs = answer(estimator, features(holdout, snapshot), snapshot)
        seen = answer(estimator, rows, snapshot)
    held = labels(holdout, snapshot)
    metrics, train_metrics = _metrics(snapshot, held, outputs), _metrics(snapshot, truth, seen)
    curves = loss_curves(estimator, (rows, truth), (features(holdout, snapshot), held))
    said.append(too_many_stages(curves))
    main = spec.main_metric
    fitted = Fitted(
        estimator=estimator,
        outputs=outputs,
        truth=held,
        metrics=metrics,
        train_metrics=train_metrics,
        cross_validation=folds,
        curves=curves,
        overfit=judge_gap(main, train_metrics.get(main), metrics.get(main)),
        seconds=effort.seconds,
        cpu_seconds=effort.cpu_seconds,
        peak_memory_mb=effort.peak_memory_mb,
        class_weights=weights,
        params=_flat_params(estimator, path, spec, snapshot),
        trusted_types=trusted_types(estimator, root, folder, path),
        golden=golden(holdout, outputs, snapshot),
        warnings=tuple(sentence for sentence in said if sentence),
        folder=folder,
    )
    progress("fitted", 1.0)
    return fitted


def _metrics(snapshot: Snapshot, truth: np.ndarray, outputs: Outputs) -> dict[str, float]:
    return evaluate(
        snapshot.task,  # type: ignore[arg-type]
        truth,
        outputs,
        snapshot.classes or (),
        snapshot.positive,
    )


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Name the estimator when it raises; scikit-learn's own text may quote a row's value."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        from sklearn.utils._param_validation import InvalidParameterError

        # A refused parameter is the declaration's own text, and no row's.
        why = f": {error}" if isinstance(error, InvalidParameterError) else ""
        raise DataError(
            f"{path}: raised {type(error).__name__} while it was fitted or asked{why}; "
            "check estimator.params, and that it takes the columns of the snapshot"
        ) from error


def _check_classes(estimator: Any, snapshot: Snapshot, path: str) -> None:
    if snapshot.classes is None:
        return
    found = getattr(estimator, "classes_", None)
    if found is None or list(np.asarray(found).tolist()) != list(snapshot.classes):
        count = "none" if found is None else len(found)
        raise DataError(
            f"{path}: its classes_ are not the target's, in sorted order (found {count}, expected "
            f"{len(snapshot.classes)})"
        )


def _flat_params(estimator: Any, path: str, spec: ModelSpec, snapshot: Snapshot) -> dict[str, Any]:
    own = last_step(estimator).get_params(deep=False)
    return {
        **{name: value for name, value in own.items() if not hasattr(value, "get_params")},
        "estimator": path,
        "balance": spec.estimator.balance,
        "cross_validation": spec.estimator.cross_validation,
        "holdout_share": spec.data.split.holdout,
        "split_seed": spec.data.split.seed,
        "features": len(snapshot.columns),
    }


def _tells(caught: warnings.WarningMessage) -> bool:
    from sklearn.exceptions import ConvergenceWarning

    return issubclass(caught.category, ConvergenceWarning)


def _sentence(caught: warnings.WarningMessage) -> str:
    return f"{caught.category.__name__}: {str(caught.message).splitlines()[0]}"
