"""The gates that decide whether a version may be released, each with its reason in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_pipelines.gate_spec import Gate
from mlops_pipelines.measure.fairness import Gap
from mlops_pipelines.measure.intervals import PairedDifference
from mlops_pipelines.release.evaluation import GateResult
from mlops_pipelines.tasks import allowance


def judge(
    gate: Gate,
    metrics: dict[str, float],
    differences: dict[str, PairedDifference],
    champion_version: int | None,
    obstacle: str,
    rows: int,
) -> GateResult:
    """Whether `gate` lets a version of these metrics through; `obstacle` forbids comparing."""
    name = gate.metric
    if name not in metrics:
        return GateResult(gate, False, f"{name} is undefined on the {rows} holdout rows")
    value = metrics[name]
    if gate.at_least is not None:
        verb = "is at least" if value >= gate.at_least else "is below"
        sentence = f"{name} {value:.4g} {verb} {gate.at_least:g}"
        return GateResult(gate, value >= gate.at_least, sentence)
    if gate.at_most is not None:
        verb = "is at most" if value <= gate.at_most else "is above"
        sentence = f"{name} {value:.4g} {verb} {gate.at_most:g}"
        return GateResult(gate, value <= gate.at_most, sentence)
    if champion_version is None:
        return GateResult(gate, True, f"{name} {value:.4g}: no champion yet to compare with")
    if name not in differences:
        reason = obstacle or f"{name} is undefined for champion v{champion_version}"
        return GateResult(gate, False, f"{name} cannot be compared: {reason}")
    return _compare(gate, differences[name], champion_version)


def judge_gap(gate: Gate, between: Sequence[Gap]) -> GateResult:
    """A gap that cannot be measured is not known to be within its bound, so it is refused."""
    for gap in between:
        if (gap.name, gap.segment) == (gate.fairness, gate.segment):
            bound = gate.at_most or 0.0
            return GateResult(gate, gap.within(bound), gap.judged(bound))
    return GateResult(
        gate, False, f"{gate.fairness}: the snapshot has no segment {gate.segment}; train again"
    )


def _compare(gate: Gate, found: PairedDifference, champion_version: int) -> GateResult:
    allowed = allowance(gate.metric, gate.within_champion or 0.0, found.b)
    # A difference that is exactly the bound must not fail by its last bit.
    passed = found.improvement >= -allowed - 1e-12
    better = "better" if found.improvement >= 0 else "worse"
    sentence = (
        f"{gate.metric} {found.a:.4g} is {abs(found.improvement):.4g} {better} than champion "
        f"v{champion_version}'s {found.b:.4g} (95 % interval of the improvement "
        f"{found.low:+.4g} to {found.high:+.4g}; {allowed:.4g} worse is allowed)"
    )
    return GateResult(gate, passed, sentence)
