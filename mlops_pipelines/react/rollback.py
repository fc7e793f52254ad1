"""Decides what a bad night asks for: nothing, a warning, a retraining, or the previous version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlops_pipelines.spec import ModelSpec

Status = Literal["ok", "alarm", "insufficient_data"]
Action = Literal["none", "warn", "retrain", "recommend", "roll_back"]


@dataclass(frozen=True)
class Evidence:
    """What one night found out about `version` of `model`, and where it could go back to.

    `performance` rests on labels, or on an estimate without them (`performance_basis`).
    `serving` is the version in front of the traffic when the decision is taken; `previous` the one
    before it. `previous_clearly_better` rests on the same rows (paired bootstrap).
    `days_since_retrain` is None where no retraining was ever requested by a night.
    """

    model: str
    day: str
    version: int
    serving: int | None
    health: Status
    performance: Status
    drift: Status
    drifted_columns: tuple[str, ...] = ()
    performance_basis: str = "realised"
    previous: int | None = None
    previous_quarantined: bool = False
    previous_clearly_better: bool = False
    days_since_retrain: float | None = None


@dataclass(frozen=True)
class Decision:
    """What to do; `to` is the version to put back, for `recommend` and `roll_back` only."""

    action: Action
    to: int | None
    reason: str


def decide(spec: ModelSpec, evidence: Evidence) -> Decision:
    """The table of DESIGN.md, worst news first: health, performance, drift, too few rows."""
    if evidence.serving != evidence.version:
        now = "nothing" if evidence.serving is None else f"version {evidence.serving}"
        return Decision(
            "none", None, f"{_night(evidence)} is about a version that left: {now} serves now"
        )
    if evidence.health == "alarm":
        return _put_back(spec, evidence, "the service is not healthy")
    if evidence.performance == "alarm":
        fell = f"{_basis(evidence)}performance is below its baseline"
        if evidence.previous is None or evidence.previous == evidence.version:
            return _retrain(spec, evidence, f"{fell}, and there is no previous version")
        if evidence.previous_quarantined:
            barred = f"version {evidence.previous} is quarantined"
            return _retrain(spec, evidence, f"{fell}, and {barred}")
        if not evidence.previous_clearly_better:
            better = f"version {evidence.previous} is not clearly better on the same rows"
            return _retrain(spec, evidence, f"{fell}, and {better}")
        better = f"version {evidence.previous} is clearly better on the same rows"
        return _put_back(spec, evidence, f"{fell}, and {better}")
    if evidence.drift == "alarm":
        columns = ", ".join(evidence.drifted_columns) or "the inputs"
        unharmed = "unharmed" if evidence.performance == "ok" else "not yet known"
        seen = f"{columns} drifted; {_basis(evidence)}performance is {unharmed}"
        if spec.react.retrain.on == "drift":
            return _retrain(spec, evidence, seen)
        return Decision("warn", None, f"{_night(evidence)}: {seen}")
    few = [
        name
        for name in ("health", "performance", "drift")
        if getattr(evidence, name) == "insufficient_data"
    ]
    if few:
        rest = "; the rest is ok" if len(few) < 3 else ""
        seen = f"too few rows to judge {', '.join(few)}{rest}"
        return Decision("none", None, f"{_night(evidence)}: {seen}")
    return Decision("none", None, f"{_night(evidence)}: all is well")


def _put_back(spec: ModelSpec, evidence: Evidence, seen: str) -> Decision:
    """Back to the previous version, as far as there is one and the declaration allows it."""
    reason = f"{_night(evidence)}: {seen}"
    if evidence.previous is None or evidence.previous == evidence.version:
        return Decision("warn", None, f"{reason}; there is no previous version to put back")
    if evidence.previous_quarantined:
        barred = f"version {evidence.previous} is quarantined"
        return Decision("warn", None, f"{reason}; {barred} and cannot be put back")
    mode = spec.react.rollback.mode
    if mode == "automatic":
        return Decision("roll_back", evidence.previous, reason)
    if mode == "recommend":
        command = f"mlops rollback {evidence.model} --to {evidence.previous}"
        return Decision("recommend", evidence.previous, f"{reason}; {command} puts it back")
    return Decision("warn", None, f"{reason}; react.rollback.mode is observe")


def _retrain(spec: ModelSpec, evidence: Evidence, seen: str) -> Decision:
    policy = spec.react.retrain
    reason = f"{_night(evidence)}: {seen}"
    if policy.on == "never":
        return Decision("warn", None, f"{reason}; react.retrain.on is never")
    since = evidence.days_since_retrain
    if since is not None and since < policy.cooldown_days:
        return Decision(
            "warn",
            None,
            f"{reason}; retraining was requested {since:.1f} days ago "
            f"and may be again after {policy.cooldown_days:g}",
        )
    return Decision("retrain", None, reason)


def _basis(evidence: Evidence) -> str:
    return "estimated " if evidence.performance_basis == "estimated" else ""


def _night(evidence: Evidence) -> str:
    return f"{evidence.model} version {evidence.version}, {evidence.day}"
