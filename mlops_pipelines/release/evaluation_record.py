"""What is kept of an evaluation beside the version's metrics: intervals, slices, gates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_pipelines.measure.intervals import PairedDifference
    from mlops_pipelines.release.evaluation import Evaluation, GateResult, SliceResult
    from mlops_pipelines.release.shadow import Shadowed

EVALUATION = "evaluation.json"
"""Artifact of a version: `evaluation_document` of it, as it was evaluated last."""


def evaluation_document(evaluation: Evaluation, shadowed: Shadowed | None = None) -> dict[str, Any]:
    """An evaluation as a JSON value; intervals are of 95 %, numbers that are undefined null."""
    from mlops_pipelines.release.evaluate import SEED

    champion = evaluation.champion_metrics
    return {
        "schema": 1,
        "rows": evaluation.rows,
        "seed": SEED,
        "metrics": _finite(evaluation.metrics),
        "intervals": {
            name: {"low": _number(each.low), "high": _number(each.high), "rows": each.n}
            for name, each in evaluation.intervals.items()
        },
        "champion": evaluation.champion_version,
        "champion_metrics": None if champion is None else _finite(champion),
        "differences": [_difference(each) for each in evaluation.differences.values()],
        "slices": [_slice(each) for each in evaluation.slices],
        "gates": [_gate(each) for each in evaluation.gates],
        "fairness": [each.as_dict() for each in evaluation.fairness],
        "shadow": None if shadowed is None else shadowed.document(),
    }


def _difference(found: PairedDifference) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "champion": found.b,
        "improvement": found.improvement,
        "low": found.low,
        "high": found.high,
        "rows": found.n,
    }


def _slice(found: SliceResult) -> dict[str, Any]:
    return {
        "segment": found.segment,
        "value": found.value,
        "rows": found.n,
        "metrics": None if found.metrics is None else _finite(found.metrics),
        "difference": None if found.difference is None else _difference(found.difference),
    }


def _gate(found: GateResult) -> dict[str, Any]:
    declared = found.gate.model_dump(mode="json")
    return {**declared, "passed": found.passed, "sentence": found.sentence}


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
