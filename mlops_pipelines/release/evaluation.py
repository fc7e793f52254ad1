"""What an evaluation found: challenger and champion on the same rows, slices, gates, gaps."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_pipelines.gate_spec import Gate
from mlops_pipelines.measure.fairness import Gap, gaps_table
from mlops_pipelines.measure.intervals import Interval, PairedDifference


@dataclass(frozen=True)
class GateResult:
    """One gate, whether it let the version through, and why in one sentence."""

    gate: Gate
    passed: bool
    sentence: str


@dataclass(frozen=True)
class SliceResult:
    """The n holdout rows where a segment holds one value.

    `metrics` is None on too few rows; `difference` to the champion also where there is no
    champion, or where the main metric is undefined on these rows.
    """

    segment: str
    value: str
    n: int
    metrics: dict[str, float] | None
    difference: PairedDifference | None


@dataclass(frozen=True)
class Evaluation:
    """What the challenger achieved on `rows` holdout rows, beside the champion on the same rows.

    `champion_metrics` is None where there is no champion, or where the two cannot be compared.
    `fairness` are the challenger's gaps between the groups of each segment, `judged_by` the main
    metric and those of the gates.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    champion_version: int | None
    champion_metrics: dict[str, float] | None
    differences: dict[str, PairedDifference]
    slices: tuple[SliceResult, ...]
    gates: tuple[GateResult, ...]
    rows: int
    fairness: tuple[Gap, ...] = ()
    judged_by: tuple[str, ...] = ()

    @property
    def meets_thresholds(self) -> bool:
        """Whether every gate with a fixed bound let the version through."""
        return all(result.passed for result in self.thresholds)

    @property
    def no_worse_than_champion(self) -> bool:
        """Whether every gate that compares with the champion let the version through."""
        return all(result.passed for result in self.comparisons)

    @property
    def thresholds(self) -> tuple[GateResult, ...]:
        """The gates with a fixed bound."""
        return tuple(r for r in self.gates if r.gate.within_champion is None)

    @property
    def comparisons(self) -> tuple[GateResult, ...]:
        """The gates that compare with the champion."""
        return tuple(r for r in self.gates if r.gate.within_champion is not None)

    def markdown(self) -> str:
        """Gates and metrics as two tables; with segments, slices and gaps as two more."""
        gates = [f"| {'passed' if g.passed else 'refused'} | {g.sentence} |" for g in self.gates]
        text = ["| gate | why |", "|---|---|", *gates, "", *self._metrics_table()]
        return "\n".join([*text, *self._slices_table(), *gaps_table(self.fairness)])

    def _metrics_table(self) -> list[str]:
        beside = self.champion_metrics
        head = f"| metric ({self.rows} rows) | challenger | 95 % interval |"
        lines = [head + (f" v{self.champion_version} |" if beside else "")]
        lines.append("|---|---|---|" + ("---|" if beside else ""))
        for name, value in self.metrics.items():
            found = self.intervals.get(name)
            interval = f"{found.low:.4g} to {found.high:.4g}" if found else ""
            line = f"| {name} | {value:.4g} | {interval} |"
            if beside:
                line += f" {beside[name]:.4g} |" if name in beside else " |"
            lines.append(line)
        return lines

    def _slices_table(self) -> list[str]:
        if not self.slices:
            return []
        names = list(self.judged_by or self.intervals)
        lines = ["", f"| slice | rows | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
        for part in self.slices:
            cells = [
                f"{part.metrics[name]:.4g}" if part.metrics and name in part.metrics else ""
                for name in names
            ]
            name = f"{part.segment} = {part.value}".replace("|", "\\|")
            lines.append(f"| {name} | {part.n} | {' | '.join(cells)} |")
        return lines
