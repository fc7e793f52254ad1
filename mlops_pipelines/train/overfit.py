"""Whether a model knows its training rows much better than the holdout."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_pipelines.measure.metrics import METRICS, better

SHARE_GAP = 0.1
"""Largest gap for a metric between 0 and 1, such as accuracy or roc_auc; twice that for r2."""
ERROR_RATIO = 1.5
"""Largest ratio for an error without an upper bound, such as rmse or log_loss."""
_ERRORS = ("log_loss", "mae", "rmse")


@dataclass(frozen=True)
class Overfit:
    """The main metric on both sides of the split, and what the gap says."""

    overfit: bool
    metric: str
    train: float | None
    holdout: float | None
    sentence: str


def judge_gap(metric: str, train: float | None, holdout: float | None) -> Overfit:
    """Compare `metric` on the training rows with the holdout's; None where it is undefined."""
    if train is None or holdout is None:
        return Overfit(False, metric, train, holdout, f"{metric} is not defined on both sides")
    if metric in _ERRORS:
        limit = f"{ERROR_RATIO} times the training error"
        overfit = holdout > ERROR_RATIO * train and holdout - train > 1e-9
    else:
        gap = SHARE_GAP * (2 if metric == "r2" else 1)
        limit = f"a gap of {gap}"
        overfit = better(metric, train, holdout) > gap
    verb = "overfits" if overfit else "does not overfit"
    arrow = "higher" if METRICS[metric].greater_is_better else "lower"
    sentence = (
        f"{verb}: {metric} ({arrow} is better) is {train:.4g} on the training split and "
        f"{holdout:.4g} on the holdout; allowed is {limit}"
    )
    return Overfit(bool(overfit), metric, train, holdout, sentence)
