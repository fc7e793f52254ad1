"""The gaps between groups on a day's labelled rows, beside what the declaration allows."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from mlops_pipelines.gate_spec import Gate
from mlops_pipelines.measure.fairness import Gap, gaps, gaps_table
from mlops_pipelines.monitor.outcome import outcome
from mlops_pipelines.spec import ModelSpec

Status = Literal["ok", "alarm", "insufficient_data"]

_SEED = 0


@dataclass(frozen=True)
class Fairness:
    """What `labelled` rows of `version` show of every gap; `sentence` says why the status is so."""

    status: Status
    version: int
    labelled: int
    gaps: tuple[Gap, ...]
    sentence: str

    def metrics(self) -> dict[str, float]:
        """What is logged of the night: `fairness/<segment>/<gap>`, with _low and _high."""
        found: dict[str, float] = {}
        for gap in self.gaps:
            if gap.value is not None and gap.low is not None and gap.high is not None:
                name = logged_as(gap.segment, gap.name)
                found |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
        return found

    def evidence(self) -> list[dict[str, Any]]:
        """Every gap as a JSON value; None where it could not be measured."""
        return [gap.as_dict() for gap in self.gaps]

    def markdown(self) -> str:
        """The sentence, and the gaps as a table."""
        return "\n".join([self.sentence, *gaps_table(self.gaps)])


def logged_as(segment: str, gap: str) -> str:
    """The name of a gap among a night's metrics; MLflow takes no other characters in one."""
    safe = re.sub(r"[^\w.: -]", "_", segment)
    return f"fairness/{safe}/{gap}"


def assess_fairness(
    spec: ModelSpec,
    rows: pd.DataFrame,
    version: int,
    *,
    classes: Sequence[Hashable] | None = None,
) -> Fairness | None:
    """The gaps of `version` on the labelled rows of a day; None where no segment is declared.

    `alarm` only where a declared gate's bound lies below the whole 95 % interval of its gap;
    `insufficient_data` where no gap (or none that a gate is on) can be measured, for too few
    labelled rows or too few of each group. `classes` as `monitor.performance.assess` takes them.
    """
    if not spec.data.segments:
        return None
    segments = [name for name in spec.data.segments if name in rows.columns]
    own = outcome(spec, rows[rows["model_version"] == version], classes)
    labelled = len(own.rows)
    few = labelled < spec.monitor.min_rows
    if few or (spec.task == "binary_classification" and len(own.classes) != 2):
        why = f"{labelled} labelled rows; {spec.monitor.min_rows} are needed to judge"
        if not few:
            why = f"{labelled} labelled rows of {len(own.classes)} classes; two were expected"
        return Fairness("insufficient_data", version, labelled, (), why)
    if not segments:
        why = f"the log has no column {', '.join(spec.data.segments)}: only features are logged"
        return Fairness("insufficient_data", version, labelled, (), why)
    found = gaps(spec.gaps, own.truth, own.outputs, own.classes, own.rows[segments], seed=_SEED)
    status, sentence = _judged(spec.fairness_gates, found)
    return Fairness(status, version, labelled, found, f"{sentence}, on {labelled} labelled rows")


def _judged(gates: Sequence[Gate], found: Sequence[Gap]) -> tuple[Status, str]:
    measured = [gap for gap in found if gap.value is not None]
    if not gates:
        if not measured:
            return "insufficient_data", "; ".join(dict.fromkeys(gap.too_few() for gap in found))
        return "ok", f"{len(measured)} of {len(found)} gaps are measured, and none has a bound"
    by_name = {(gap.name, gap.segment): gap for gap in found}
    status: Status = "insufficient_data"
    told: list[str] = []
    for gate in gates:
        gap = by_name.get((gate.fairness, gate.segment))
        bound = gate.at_most or 0.0
        if gap is None:
            told.append(f"{gate.fairness}: the log has no column {gate.segment}")
            continue
        told.append(gap.judged(bound))
        if gap.clearly_beyond(bound):
            status = "alarm"
            told[-1] += ", and chance does not explain it"
        elif gap.value is not None and status != "alarm":
            status = "ok"
            if not gap.within(bound):
                told[-1] += ", which chance may explain"
    return status, "; ".join(told)
