"""What a declaration may say of releases: what serves, how much it takes, and what stops it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mlops_pipelines.parts import Part
from mlops_pipelines.wording import FieldError


class Replicas(Part):
    """How many workers answer, and between which bounds they may be scaled."""

    min: int = Field(1, ge=1, le=64)
    max: int = Field(1, ge=1, le=64)

    @model_validator(mode="before")
    @classmethod
    def _max_follows_min(cls, values: Any) -> Any:
        low = values.get("min") if isinstance(values, dict) else None
        if isinstance(low, int) and 1 < low <= 64:
            return {"max": low, **values}
        return values

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.max < self.min:
            raise FieldError(f"must be at least min ({self.min}), not {self.max}", "max")
        return self


class RequestLimits(Part):
    """How much a worker takes at once; more is refused with 408, 413 or 503."""

    rows: int = Field(10_000, ge=1, le=1_000_000, description="of one request")
    body_bytes: int = Field(16 * 1024 * 1024, ge=1024, le=1 << 30, description="of one request")
    in_flight: int = Field(512, ge=1, le=65_536, description="requests at one time")
    buffered_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="bodies of all requests at one time"
    )
    request_seconds: float = Field(
        30.0, gt=0, le=3600, description="from a request's first byte to its last"
    )
    connections: int = Field(2048, ge=1, le=65_536, description="open at one time")


class Scale(Part):
    """When the number of replicas follows the load; nothing is scaled where min is max."""

    cpu: float = Field(
        0.7, gt=0, le=1, description="share of its cores that a replica should be busy at most"
    )
    in_flight: float = Field(
        8, gt=0, description="requests that a replica should answer at one time at most"
    )
    cooldown_seconds: float = Field(
        120, ge=0, description="least time between a change and taking replicas away"
    )


class Resources(Part):
    """What a container may use; the process target sets no limits."""

    cpus: float = Field(1.0, gt=0, le=64)
    memory_mb: int = Field(512, ge=64, le=262_144)


class Shadow(Part):
    """The replay of logged requests that a version answers before it takes any traffic."""

    rows: int = Field(500, ge=0, le=100_000, description="the last logged ones; 0: no replay")
    errors: float = Field(0, ge=0, le=1, description="share of them that may fail")
    latency_ratio: float = Field(
        5.0, gt=0, description="its 95th percentile over the champion's, at most"
    )
    agreement: float = Field(
        0, ge=0, le=1, description="share of rows it must answer as the champion did; 0: shown only"
    )


class Canary(Part):
    """Steps of weight; after each it is looked at, and goes back unless all is well."""

    steps: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(
        (5, 25, 50), description="percent of the traffic, one after the other"
    )
    bake_seconds: float = Field(60, ge=0, description="how long each step lasts at least")
    min_requests: int = Field(
        50, ge=1, description="answers of the challenger that a step needs to be judged"
    )
    deadline_minutes: float = Field(
        60, gt=0, description="after which the traffic goes back, whatever was seen"
    )
    at_deadline: Literal["go_back", "go_on"] = "go_back"
    errors: float = Field(
        0.01, ge=0, le=1, description="share of failed requests beyond the champion's, at most"
    )
    latency_ratio: float = Field(
        2.0, gt=0, description="its mean latency over the champion's, at most"
    )
    agreement: float = Field(
        0, ge=0, le=1, description="share of the champion's answers it must share; 0: shown only"
    )

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not steps or list(steps) != sorted(set(steps)):
            raise ValueError("must rise from step to step, such as [5, 25, 50]")
        return steps


class Release(Part):
    """How a version takes the traffic."""

    strategy: Literal["blue_green", "canary"] = Field(
        "blue_green",
        description="blue_green: the new version takes all traffic once it has answered; canary: "
        "step by step, behind a gateway",
    )
    canary: Canary = Field(default_factory=Canary)
    shadow: Shadow = Field(default_factory=Shadow)
    standby_minutes: float = Field(
        60, ge=0, description="how long the previous version stays warm behind a gateway"
    )
    replicas: Replicas = Field(default_factory=Replicas)
    scale: Scale = Field(default_factory=Scale)
    resources: Resources = Field(default_factory=Resources)
    port: int | None = Field(
        None, ge=1024, le=65535, description="stable port; default: the first free of the target's"
    )
    runtime: Literal["auto", "scikit-learn"] = Field(
        "auto",
        description="what answers in versions that are evaluated from now on; auto is ONNX Runtime "
        "where it answers as scikit-learn does on the whole holdout",
    )
    limits: RequestLimits = Field(default_factory=RequestLimits)
    sync: bool = Field(
        True,
        description="an answer waits until its row is on the disk; false: until the operating "
        "system has it, which outlives the process but not a power cut",
    )


Severity = Literal["critical", "high", "medium", "low"]

FindingKind = Literal[
    "account numbers",
    "advisory not understood",
    "card numbers",
    "column of the future",
    "copy of the target",
    "custom operator",
    "e-mail addresses",
    "external data",
    "feature that tells the target",
    "foreign type",
    "fragile under attack",
    "fragile under noise",
    "membership shows",
    "nulls that tell the target",
    "no lock",
    "not assessed",
    "package without hash",
    "phone numbers",
    "row number",
    "secret",
    "training rows in the holdout",
    "unpinned package",
    "untrusted type",
    "vulnerable package",
]
"""What the security assessment may find and people may accept; see release.security."""


class Accepted(Part):
    """A kind of finding that is known, and does not stand in the way."""

    kind: FindingKind
    reason: str = Field(min_length=1, description="why; shown beside the finding")


class Security(Part):
    """Which findings of the security assessment stop a version."""

    block_on: Literal["critical", "high", "medium", "low", "none"] = Field(
        "high", description="findings of this severity, or graver, block"
    )
    accept: tuple[Accepted, ...] = Field(
        (), description="kinds of findings that are shown and do not block"
    )
