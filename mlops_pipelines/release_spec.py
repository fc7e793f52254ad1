"""What a declaration may say of releases: what serves, how much it takes, and what stops it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

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


class Release(Part):
    """How a version takes the traffic."""

    strategy: Literal["blue_green"] = Field(
        "blue_green", description="the new version takes all traffic once it has answered"
    )
    replicas: Replicas = Field(default_factory=Replicas)
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
