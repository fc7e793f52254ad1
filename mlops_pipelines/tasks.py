"""The tasks a model may have, and the metrics of each."""

from __future__ import annotations

from typing import Any, Literal, get_args

Task = Literal["binary_classification", "multiclass_classification", "regression"]

TASK_METRICS: dict[str, tuple[str, ...]] = {
    "binary_classification": (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier",
        "calibration_error",
    ),
    "multiclass_classification": (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "log_loss",
        "calibration_error",
    ),
    "regression": ("mae", "rmse", "r2"),
}
"""Which metrics each task has; the first word of each is the same in YAML, MLflow and pages."""

MAIN_METRIC = {
    "binary_classification": "roc_auc",
    "multiclass_classification": "accuracy",
    "regression": "rmse",
}
"""The metric that is watched where a declaration names none."""

GATE_METRIC = {**MAIN_METRIC, "regression": "r2"}
"""The metric of the gate that is always there.

On the same rows r2 orders versions as rmse does, and 0.01 of it means the same in every unit.
"""

IN_TARGET_UNIT = ("mae", "rmse")
"""Metrics in the target's own unit: what is allowed of them is said as a share."""

SCORE_DROP, ERROR_DROP = 0.05, 0.2
"""How far the watched metric may fall where a declaration does not say; an error, as a share."""


def allowance(metric: str, allowed: float, reference: float) -> float:
    """`allowed` in the metric's unit: a share of `reference` for mae and rmse, else itself."""
    return allowed * abs(reference) if metric in IN_TARGET_UNIT else allowed


def metric_mistakes(attributes: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """Fields that name a metric which the task does not have: (path, message).

    `attributes` are as written, so that these are found beside all other mistakes.
    """
    task = _get(attributes, "task")
    if task not in get_args(Task):
        return []
    allowed = TASK_METRICS[task]
    gates = _get(attributes, "gates")
    named: list[tuple[tuple[str | int, ...], Any]] = [
        (("gates", index, "metric"), _get(gate, "metric"))
        for index, gate in enumerate(gates if isinstance(gates, list) else [])
    ]
    watched = _get(_get(_get(attributes, "react"), "rollback"), "metric")
    unknown = [
        (path, f"must be one of {', '.join(allowed)} for {task}, not {metric!r}")
        for path, metric in [*named, (("react", "rollback", "metric"), watched)]
        if isinstance(metric, str) and metric not in allowed
    ]
    shares: list[tuple[tuple[str | int, ...], Any, Any]] = [
        (("gates", index, "within_champion"), _get(gate, "metric"), _get(gate, "within_champion"))
        for index, gate in enumerate(gates if isinstance(gates, list) else [])
    ]
    drop = _get(_get(_get(attributes, "react"), "rollback"), "drop")
    shares.append((("react", "rollback", "drop"), watched or MAIN_METRIC[task], drop))
    return unknown + [
        (path, f"must be a share of the {metric} before, such as 0.1, not {share!r}")
        for path, metric, share in shares
        if metric in IN_TARGET_UNIT and isinstance(share, int | float) and share > 1
    ]


def _get(value: Any, field: str) -> Any:
    return value.get(field) if isinstance(value, dict) else None
