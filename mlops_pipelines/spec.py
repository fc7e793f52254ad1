"""What a declaration may say: `assets/<model>/defs.yaml`, validated; knows no Dagster.

Every field has a description (the JSON schema that editors and `dg utils inspect-component`
show is made from it) and, except for name, task, data and estimator, a default that is safe.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from mlops_pipelines.cron import is_cron
from mlops_pipelines.data_spec import Data, Source
from mlops_pipelines.parts import ImportPath, Owner, Part, matching
from mlops_pipelines.tasks import (
    ERROR_DROP,
    GATE_METRIC,
    IN_TARGET_UNIT,
    MAIN_METRIC,
    SCORE_DROP,
    TASK_METRICS,
    Task,
)
from mlops_pipelines.wording import FieldError

_NAME = r"[a-z][a-z0-9_]{0,62}"
_SUITE = r"auto|[\w./-]+\.ya?ml"

RESERVED_COLUMNS = (
    "prediction_id",
    "request_id",
    "request_row",
    "predicted_at",
    "logged_at",
    "model_version",
    "prediction",
    "score",
    "probabilities",
    "latency_ms",
    "label",
    "labelled_at",
)
"""Names that the prediction log uses for itself, so no feature may."""


class Estimator(Part):
    """The scikit-learn estimator, by import path, or a function that builds one."""

    python: ImportPath
    params: dict[str, Any] = Field(default_factory=dict, description="keyword arguments for it")
    balance: Literal["none", "weights"] = Field(
        "none", description="weights: classes count equally however rare they are"
    )
    cross_validation: int = Field(
        5, ge=0, le=20, description="folds on the training split; 0 turns it off", examples=[5]
    )
    seed: int = Field(0, ge=0, description="random_state of the estimator, where it has one")

    @field_validator("cross_validation")
    @classmethod
    def _two_folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 2 folds or more, or 0 for none")
        return folds


class Quality(Part):
    """What is expected of every row, in training and in production (Great Expectations)."""

    suite: Annotated[
        str, AfterValidator(matching(_SUITE, "must be auto, or a .yaml file beside this one"))
    ] = Field(
        "auto",
        description="auto (learned from the snapshot), or a YAML file beside this declaration",
        json_schema_extra={"pattern": f"^({_SUITE})$"},
    )


FAIRNESS: dict[str, tuple[str, ...]] = {
    "binary_classification": (
        "demographic_parity_difference",
        "equal_opportunity_difference",
        "false_positive_rate_difference",
        "equalized_odds_difference",
        "accuracy_difference",
    ),
    "multiclass_classification": ("accuracy_difference",),
    "regression": ("mean_error_difference", "mae_difference"),
}
"""The gaps between groups that are measured in each task, beside that of the watched metric."""


class Gate(Part):
    """A condition of a release: a bound on a metric, its distance to the champion's, or a gap.

    A gap is how far a metric differs between the groups of a segment.
    """

    metric: str = Field("", description="the metric that is bound")
    fairness: str = Field(
        "",
        description="instead of a metric: the gap between groups that is bound, such as "
        "equalized_odds_difference",
    )
    segment: str = Field("", description="of fairness: the column of data.segments with the groups")
    at_least: float | None = Field(None, description="the metric on the holdout, or more")
    at_most: float | None = Field(None, description="the metric, or the gap, on the holdout")
    within_champion: float | None = Field(
        None,
        ge=0,
        description="how much worse than the champion, on the same rows, is allowed; "
        "of mae and rmse a share of the champion's",
    )

    @model_validator(mode="after")
    def _of_one_thing(self) -> Gate:
        if bool(self.metric) == bool(self.fairness):
            found = "both" if self.metric else "none"
            raise ValueError(f"exactly one of metric, fairness is needed, not {found}")
        if self.metric and self.segment:
            raise FieldError("belongs to fairness, not to a metric", "segment")
        return self

    @model_validator(mode="after")
    def _of_a_gap(self) -> Gate:
        if not self.fairness:
            return self
        for kind in ("at_least", "within_champion"):
            if getattr(self, kind) is not None:
                raise FieldError("is no bound on a gap between groups; at_most is", kind)
        for kind in ("segment", "at_most"):
            if not getattr(self, kind) and getattr(self, kind) != 0:
                raise FieldError("is required of fairness, and missing", kind)
        if self.at_most is not None and self.at_most < 0:
            raise FieldError(f"must be at least 0, not {self.at_most:g}", "at_most")
        return self

    @model_validator(mode="after")
    def _exactly_one(self) -> Gate:
        kinds = ("at_least", "at_most", "within_champion")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(
                f"exactly one of at_least, at_most, within_champion is needed, not {found}"
            )
        return self


def _gap_exists(gate: Gate, info: ValidationInfo) -> Gate:
    """Checked here and not in ModelSpec, so that the mistake has the place of its gate."""
    task, data = info.data.get("task"), info.data.get("data")
    if not gate.fairness:
        return gate
    known = _gaps(task) if task else ()
    if known and gate.fairness not in known:
        raise FieldError(
            f"must be one of {', '.join(known)} for {task}, not {gate.fairness!r}", "fairness"
        )
    if data is not None and gate.segment not in data.segments:
        there = ", ".join(data.segments) or "none"
        raise FieldError(
            f"must be one of data.segments (there are: {there}), not {gate.segment!r}", "segment"
        )
    return gate


def _gaps(task: str) -> tuple[str, ...]:
    of_metrics = tuple(f"{name}_difference" for name in TASK_METRICS[task])
    return tuple(dict.fromkeys((*FAIRNESS[task], *of_metrics)))


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


class Monitor(Part):
    """What is looked at, and when."""

    schedule: str = Field("0 2 * * *", description="cron expression of the nightly evaluation")
    start: date = Field(date(2026, 1, 1), description="first day that can be looked at")
    timezone: str = Field("UTC", description="time zone of the schedule")
    labels: Source | None = Field(
        None,
        description="where ground truth arrives (columns prediction_id and label); "
        "default: what the server's /feedback received",
    )
    label_delay_days: int = Field(
        0, ge=0, le=365, description="days until labels are in; that night is evaluated again then"
    )
    false_alarms_per_year: float = Field(1, gt=0, le=365, description="what drift alarms may cost")
    min_rows: int = Field(
        30, ge=2, description="labelled rows below which performance is insufficient_data"
    )
    latency_ms: float = Field(
        1000, gt=0, description="99th percentile above which the service is not healthy"
    )
    error_rate: float = Field(
        0.01, ge=0, le=1, description="share of failed requests above which it is not healthy"
    )

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        if not is_cron(value):
            raise ValueError("must be a cron expression of five fields such as '0 2 * * *'")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError("must be a time zone such as 'Europe/Paris'") from error
        return value


class Rollback(Part):
    """When to put the previous version back."""

    mode: Literal["observe", "recommend", "automatic"] = Field(
        "recommend", description="recommend alerts and moves nothing; automatic rolls back"
    )
    metric: str | None = Field(None, description="the metric watched; default: the task's main one")
    drop: float | None = Field(
        None,
        gt=0,
        description="fall below the holdout's value that is too much: in the metric's own unit, "
        "and of mae and rmse a share of that value; default: 0.05, of mae and rmse 0.2",
    )


class Retrain(Part):
    """When to train again without being asked."""

    on: Literal["never", "degradation", "drift"] = Field(
        "degradation",
        description="degradation: performance fell and the previous version is no better; "
        "drift: also when inputs drift",
    )
    cooldown_days: float = Field(7, ge=0, description="least time between two such trainings")


class React(Part):
    """What happens when a night is bad."""

    rollback: Rollback = Field(default_factory=Rollback)
    retrain: Retrain = Field(default_factory=Retrain)


class Card(Part):
    """What people say of a model on its card; all else there is measured."""

    intended_use: str = Field("", description="what it is for, for whom, and what it is not for")
    limits: tuple[str, ...] = Field(
        (), description="what is known that it cannot do, a sentence each"
    )
    contact: str = Field("", description="whom to ask; default: the owners")


class ModelSpec(Part):
    """A monitored model: everything its declaration says."""

    name: Annotated[
        str,
        AfterValidator(
            matching(_NAME, "must be lower-case letters, digits and underscores, a letter first")
        ),
    ] = Field(
        description="lower case, digits and underscores; the asset group and MLflow's model name",
        json_schema_extra={"pattern": f"^{_NAME}$"},
    )
    description: str = Field("", description="one sentence for people")
    owners: tuple[Owner, ...] = Field((), description="e-mail addresses, or team:NAME")
    task: Task
    data: Data
    estimator: Estimator
    quality: Quality = Field(default_factory=Quality)
    gates: tuple[Annotated[Gate, AfterValidator(_gap_exists)], ...] = Field(
        (), description="default: within 0.01 of the champion (r2, where it is a regression)"
    )
    release: Release = Field(default_factory=Release)
    security: Security = Field(default_factory=Security)
    monitor: Monitor = Field(default_factory=Monitor)
    react: React = Field(default_factory=React)
    card: Card = Field(default_factory=Card)

    @property
    def main_metric(self) -> str:
        """The metric that decides on rollback."""
        return self.react.rollback.metric or MAIN_METRIC[self.task]

    @property
    def main_drop(self) -> float:
        """How far the main metric may fall below the holdout's value; see `tasks.allowance`."""
        drop = self.react.rollback.drop
        share = self.main_metric in IN_TARGET_UNIT
        return (ERROR_DROP if share else SCORE_DROP) if drop is None else drop

    @property
    def gaps(self) -> tuple[str, ...]:
        """The gaps between groups that are measured for each of data.segments."""
        gated = (gate.fairness for gate in self.gates if gate.fairness)
        return tuple(
            dict.fromkeys((*FAIRNESS[self.task], f"{self.main_metric}_difference", *gated))
        )

    @property
    def fairness_gates(self) -> tuple[Gate, ...]:
        """The declared gates on gaps between groups."""
        return tuple(gate for gate in self.gates if gate.fairness)

    @property
    def all_gates(self) -> tuple[Gate, ...]:
        """The declared gates; a comparison with the champion is always among them."""
        if any(gate.within_champion is not None for gate in self.gates):
            return self.gates
        watched = self.react.rollback.metric if self.task != "regression" else None
        default = Gate(metric=watched or GATE_METRIC[self.task], within_champion=0.01)
        return (*self.gates, default)


def is_name(text: str) -> bool:
    """Whether a model may be called `text`."""
    return re.fullmatch(_NAME, text) is not None
