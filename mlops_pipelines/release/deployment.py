"""What became of one release or rollback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Deployment:
    """A version that took the traffic, or had it already (`unchanged`).

    `previous` is the version that served before. `rehearsal` says whether the version to return to
    could take the traffic back; `quarantined` is the version that failed, after a rollback. `steps`
    say what each step of a canary showed; `shares` is the percent of traffic by version now, and
    `standby` the version that is kept warm.
    """

    model: str
    version: int
    previous: int | None
    address: str
    replicas: int
    seconds: float
    rehearsal: str
    action: Literal["deploy", "rollback", "unchanged"]
    actor: str
    reason: str
    quarantined: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    strategy: Literal["blue_green", "canary"] = "blue_green"
    steps: tuple[str, ...] = ()
    shares: Mapping[int, int] = field(default_factory=dict)
    standby: int | None = None

    @property
    def sentence(self) -> str:
        """What happened, for a log line or an alert."""
        if self.action == "unchanged":
            return f"{self.model} version {self.version} serves at {self.address} already"
        verb = "rolled back to" if self.action == "rollback" else "deployed"
        before = f", in place of version {self.previous}" if self.previous is not None else ""
        why = f": {self.reason}" if self.reason else ""
        return (
            f"{verb} {self.model} version {self.version} at {self.address}{before} "
            f"({self.seconds:.1f} s, by {self.actor}){why}"
        )
