"""What the security assessment of one version found and measured, as values, page and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlops_pipelines.release.security.picture import falls
from mlops_pipelines.release_spec import Security, Severity

SCHEMA = 1
FILE = "security.json"
"""The file of a version that the report is kept in, as `as_dict` says it."""

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")


@dataclass(frozen=True)
class Finding:
    """One thing found; `evidence` names a file, line, type, column or count, never a value.

    `accepted` is the declaration's reason why it may stay; empty where it gives none.
    """

    severity: Severity
    kind: str
    evidence: str
    remedy: str
    accepted: str = ""


@dataclass(frozen=True)
class Measure:
    """A number that was measured on n rows, with its 95 % interval where it has one.

    `name` is fixed, for programs; `meaning` says in a few words what it is and in which unit.
    """

    name: str
    value: float
    meaning: str
    n: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Seen:
    """What one detector saw."""

    findings: Sequence[Finding] = ()
    measures: Sequence[Measure] = ()


@dataclass(frozen=True)
class SecurityReport:
    """All findings of one version, the gravest first, all measures, and what blocks."""

    findings: tuple[Finding, ...]
    measures: tuple[Measure, ...] = ()
    policy: Security = field(default_factory=Security)

    @classmethod
    def of(cls, seen: Iterable[Seen], policy: Security) -> SecurityReport:
        """What all detectors saw, under the declaration's `policy`."""
        looks = list(seen)
        reasons = {each.kind: each.reason for each in policy.accept}
        found = [
            replace(finding, accepted=reasons.get(finding.kind, ""))  # type: ignore[call-overload]
            for look in looks
            for finding in look.findings
        ]
        return cls(
            tuple(sorted(found, key=lambda each: SEVERITIES.index(each.severity))),
            tuple(measure for look in looks for measure in look.measures),
            policy,
        )

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that stop the version: grave enough, and not accepted."""
        if self.policy.block_on == "none":
            return ()
        grave = SEVERITIES[: SEVERITIES.index(self.policy.block_on) + 1]
        return tuple(each for each in self.findings if each.severity in grave and not each.accepted)

    @property
    def secure(self) -> bool:
        """Whether nothing stops the version."""
        return not self.blocking

    @property
    def sentence(self) -> str:
        """How many findings of which severity; the gravest that is not accepted by name."""
        if not self.findings:
            return "nothing found"
        open_ = [each for each in self.findings if not each.accepted]
        counts = Counter(each.severity for each in open_)
        counted = [f"{counts[s]} {s}" for s in SEVERITIES if counts[s]]
        accepted = len(self.findings) - len(open_)
        said = ", ".join([*counted, *([f"{accepted} accepted"] if accepted else [])])
        return f"{said}; first: {open_[0].kind}, {open_[0].evidence}" if open_ else said

    def markdown(self) -> str:
        """A table of the findings, or one sentence; below it what was measured."""
        return "\n".join([*self._findings_table(), *self._measures_table()])

    def as_dict(self) -> dict[str, Any]:
        """As a JSON value, by which the model card and the record know the report."""
        return {
            "schema": SCHEMA,
            "secure": self.secure,
            "block_on": self.policy.block_on,
            "findings": [
                {**asdict(each), "blocks": each in self.blocking} for each in self.findings
            ],
            "measures": [asdict(each) for each in self.measures],
        }

    def _findings_table(self) -> list[str]:
        if not self.findings:
            return [self.sentence]
        rows = [
            f"| {each.severity} | {each.kind} | {_cell(each.evidence)} | {_cell(_todo(each))} |"
            for each in self.findings
        ]
        return ["| severity | what | where | what to do |", "|---|---|---|---|", *rows]

    def _measures_table(self) -> list[str]:
        if not self.measures:
            return []
        lines = ["", "| measured | value | 95 % interval | rows |", "|---|---|---|---|"]
        for each in self.measures:
            known = each.low is not None and each.high is not None
            interval = f"{each.low:.3g} to {each.high:.3g}" if known else ""
            lines.append(f"| {_cell(each.meaning)} | {each.value:.4g} | {interval} | {each.n} |")
        noise = [
            (float(each.name.removeprefix("noise_")), each.value, each.low, each.high)
            for each in self.measures
            if each.name.startswith("noise_") and each.low is not None and each.high is not None
        ]
        return [*lines, "", falls(noise)] if noise else lines


def _todo(finding: Finding) -> str:
    return f"accepted: {finding.accepted}" if finding.accepted else finding.remedy


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
