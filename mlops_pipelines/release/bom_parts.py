"""The parts of a bill of materials that cyclonedx-python-lib has no classes for, as JSON values.

Specification: https://cyclonedx.org/docs/1.6/json/#components_items_modelCard
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.release.evaluation import Evaluation
    from mlops_pipelines.train.registry import Version
    from mlops_pipelines.train.snapshot import Snapshot


def model_card(
    spec: ModelSpec, version: Version, snapshot: Snapshot, evaluation: Evaluation
) -> dict[str, Any]:
    """CycloneDX's `modelCard`: task, estimator, inputs, metrics by slice, use, limits and gaps."""
    family, _, architecture = version.params.get("estimator", "").replace(":", ".").rpartition(".")
    labels = "" if snapshot.classes is None else f", one of {list(snapshot.classes)}"
    return {
        "bom-ref": "card",
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": spec.task,
            "architectureFamily": family,
            "modelArchitecture": architecture,
            "datasets": [{"ref": "data"}],
            "inputs": [
                {"format": f"{c.name}: {c.type}{' or null' if c.nullable else ''}"}
                for c in snapshot.columns
            ],
            "outputs": [{"format": f"{snapshot.target}{labels}"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [*_metrics(evaluation)]},
        "considerations": _considerations(spec, snapshot, evaluation),
        "properties": [
            {"name": f"mlops:parameter:{name}", "value": value}
            for name, value in sorted(version.params.items())
        ],
    }


def data_set(spec: ModelSpec, snapshot: Snapshot) -> dict[str, Any]:
    """The rows a version was trained on, as CycloneDX's `componentData`, with who owns them."""
    said = {
        "mlops:source": snapshot.source,
        "mlops:rows": str(snapshot.rows),
        "mlops:train_rows": str(snapshot.train_rows),
        "mlops:holdout_rows": str(snapshot.holdout_rows),
        "mlops:columns": str(len(snapshot.columns)),
        "mlops:target": snapshot.target,
        "mlops:first_time": snapshot.first_time or "",
        "mlops:last_time": snapshot.last_time or "",
    }
    owners = [_owner(owner) for owner in spec.owners]
    return {
        "type": "dataset",
        "name": f"snapshot {snapshot.digest[:16]}",
        "description": f"{snapshot.rows} rows: {snapshot.train_rows} to learn from, "
        f"{snapshot.holdout_rows} to be measured on",
        "contents": {
            "properties": [{"name": name, "value": value} for name, value in said.items() if value]
        },
        **({"governance": {"owners": owners}} if owners else {}),
    }


def _considerations(spec: ModelSpec, snapshot: Snapshot, evaluation: Evaluation) -> dict[str, Any]:
    """What it is for, as declared; what it cannot do, as declared and as measured; its gaps."""
    use = spec.card.intended_use or spec.description
    said: dict[str, list[Any]] = {
        "useCases": [use] if use else [],
        "technicalLimitations": [*spec.card.limits, *_limits(snapshot, evaluation)],
        "fairnessAssessments": [*_gaps(evaluation)],
    }
    return {name: listed for name, listed in said.items() if listed}


def _gaps(evaluation: Evaluation) -> Iterator[dict[str, str]]:
    for gap in evaluation.fairness:
        if gap.value is None or gap.low is None or gap.high is None or gap.between is None:
            continue
        yield {
            "groupAtRisk": f"{gap.segment}: {' and '.join(gap.between)}",
            "harms": f"{gap.name} {gap.value:.4g} (95 % interval {gap.low:.4g} to {gap.high:.4g})",
        }


def _metrics(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for name, value in evaluation.metrics.items():
        metric: dict[str, Any] = {"type": name, "value": repr(float(value))}
        interval = evaluation.intervals.get(name)
        if interval is not None:
            low, high = repr(float(interval.low)), repr(float(interval.high))
            metric["confidenceInterval"] = {"lowerBound": low, "upperBound": high}
        yield metric
    for part in evaluation.slices:
        for name, value in (part.metrics or {}).items():
            where = f"{part.segment} = {part.value} ({part.n} rows)"
            yield {"type": name, "value": repr(float(value)), "slice": where}


def _limits(snapshot: Snapshot, evaluation: Evaluation) -> Iterator[str]:
    span = f" from {snapshot.first_time} to {snapshot.last_time}" if snapshot.first_time else ""
    yield (
        f"Learned from {snapshot.train_rows} rows{span} and measured on {evaluation.rows} others "
        "(95 % intervals by bootstrap); nothing is known of rows unlike them."
    )
    for part in evaluation.slices:
        if part.metrics is None:
            yield f"{part.segment} = {part.value}: {part.n} rows are too few to be measured alone."


def _owner(owner: str) -> dict[str, Any]:
    kind, _, name = owner.partition(":")
    if kind == "team" and name:
        return {"organization": {"name": name}}
    return {"contact": {"email": owner}}
