"""What a declaration may say: `assets/<model>/defs.yaml`, validated; knows no Dagster.

Every field has a description (the JSON schema that editors and `dg utils inspect-component`
show is made from it) and, except for name, task, data and estimator, a default that is safe.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Task = Literal["binary_classification", "multiclass_classification", "regression"]

TASK_METRICS: dict[str, tuple[str, ...]] = {
    "binary_classification": (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier",
        "calibration_error",
    ),
    "multiclass_classification": (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "log_loss",
        "calibration_error",
    ),
    "regression": ("mae", "rmse", "r2"),
}
"""Which metrics each task has; the first word of each is the same in YAML, MLflow and pages."""

MAIN_METRIC = {
    "binary_classification": "roc_auc",
    "multiclass_classification": "accuracy",
    "regression": "rmse",
}
"""The metric that decides where a declaration names none."""

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

ImportPath = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:attribute; the module may be a file beside this declaration",
    ),
]


class Part(BaseModel):
    """A mapping in a declaration: unknown fields are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FromEnv(Part):
    """A secret, named and never written: `{env: NAME}`."""

    env: str = Field(
        pattern=r"^[A-Z_][A-Z0-9_]*$", description="environment variable that holds it"
    )


class Sql(Part):
    """A query, over any database that SQLAlchemy reaches."""

    url: str | FromEnv = Field(description="SQLAlchemy URL, or {env: NAME}")
    query: str = Field(min_length=1, description="the SELECT that gives one row per example")


class Source(Part):
    """Where rows come from; exactly one of csv, parquet, sql, python."""

    csv: str | None = Field(None, description="path or glob, relative to the project folder")
    parquet: str | None = Field(None, description="path or glob, relative to the project folder")
    sql: Sql | None = Field(None, description="{url, query}")
    python: ImportPath | None = Field(None, description="function that returns a data frame")
    params: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the python function"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [kind for kind in ("csv", "parquet", "sql", "python") if getattr(self, kind)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of csv, parquet, sql, python is needed, not {found}")
        if self.params and self.python is None:
            raise ValueError(f"params belong to a python source, not to {given[0]}")
        return self

    @property
    def kind(self) -> str:
        """csv, parquet, sql or python."""
        return next(kind for kind in ("csv", "parquet", "sql", "python") if getattr(self, kind))


class Split(Part):
    """How the snapshot is split; by time where `event_time` is declared, else by row hash."""

    holdout: float = Field(0.2, gt=0, lt=0.9, description="share of rows kept for evaluation")
    seed: int = Field(0, ge=0, description="which rows fall into the holdout")


class Data(Part):
    """Training data: where from, what to predict, and which columns matter."""

    source: Source
    target: str = Field(min_length=1, description="column to predict")
    positive: str | int | bool | None = Field(
        None, description="which of the two classes is the positive one; default: the larger label"
    )
    event_time: str | None = Field(None, description="column that says when a row happened")
    segments: tuple[str, ...] = Field((), description="columns; every metric also per value")
    features: tuple[str, ...] | None = Field(
        None, description="columns the model sees; default: all others"
    )
    drop: tuple[str, ...] = Field((), description="columns the model must not see")
    split: Split = Field(default_factory=lambda: Split())  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _columns_agree(self) -> Data:
        if self.features is not None and self.target in self.features:
            raise ValueError(f"features must not contain the target {self.target!r}")
        if self.target in self.drop:
            raise ValueError(f"drop must not contain the target {self.target!r}")
        return self


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
            raise ValueError("cross-validation needs 2 folds or more (0 turns it off)")
        return folds


class Quality(Part):
    """What is expected of every row, in training and in production (Great Expectations)."""

    suite: str = Field(
        "auto",
        pattern=r"^(auto|[\w./-]+\.ya?ml)$",
        description="auto (learned from the snapshot), or a YAML file beside this declaration",
    )


class Gate(Part):
    """One condition of a release: a bound on a metric, or on its distance to the champion's."""

    metric: str
    at_least: float | None = Field(None, description="the metric on the holdout, or more")
    at_most: float | None = Field(None, description="the metric on the holdout, or less")
    within_champion: float | None = Field(
        None, ge=0, description="how much worse than the champion, on the same rows, is allowed"
    )

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


class Replicas(Part):
    """How many workers answer, and between which bounds they may be scaled."""

    min: int = Field(1, ge=1, le=64)
    max: int = Field(1, ge=1, le=64)

    @model_validator(mode="before")
    @classmethod
    def _max_follows_min(cls, values: Any) -> Any:
        if isinstance(values, dict) and "min" in values and "max" not in values:
            return {**values, "max": values["min"]}
        return values

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.max < self.min:
            raise ValueError(f"max must be at least min ({self.min}), not {self.max}")
        return self


class Release(Part):
    """How a version takes the traffic."""

    strategy: Literal["blue_green"] = Field(
        "blue_green", description="the new version takes all traffic once it has answered"
    )
    replicas: Replicas = Field(default_factory=lambda: Replicas())  # type: ignore[call-arg]
    port: int | None = Field(
        None, ge=1024, le=65535, description="stable port; default: the first free of the target's"
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
    drop: float = Field(0.05, gt=0, description="fall below the holdout's value that is too much")


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

    rollback: Rollback = Field(default_factory=lambda: Rollback())  # type: ignore[call-arg]
    retrain: Retrain = Field(default_factory=lambda: Retrain())  # type: ignore[call-arg]


class ModelSpec(Part):
    """A monitored model: everything its declaration says."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="lower case, digits and underscores; the asset group and MLflow's model name",
    )
    description: str = Field("", description="one sentence for people")
    owners: tuple[str, ...] = Field((), description="e-mail addresses, or team:NAME")
    task: Task
    data: Data
    estimator: Estimator
    quality: Quality = Field(default_factory=lambda: Quality())  # type: ignore[call-arg]
    gates: tuple[Gate, ...] = Field(
        (), description="default: within 0.01 of the champion in the task's main metric"
    )
    release: Release = Field(default_factory=lambda: Release())  # type: ignore[call-arg]
    monitor: Monitor = Field(default_factory=lambda: Monitor())  # type: ignore[call-arg]
    react: React = Field(default_factory=lambda: React())  # type: ignore[call-arg]

    @field_validator("owners")
    @classmethod
    def _owners(cls, owners: tuple[str, ...]) -> tuple[str, ...]:
        for owner in owners:
            if not re.match(r"^(team:[\w-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$", owner):
                raise ValueError(f"an owner is an e-mail address or team:NAME, not {owner!r}")
        return owners

    @property
    def main_metric(self) -> str:
        """The metric that decides on rollback, and on gates where none is declared."""
        return self.react.rollback.metric or MAIN_METRIC[self.task]

    @property
    def all_gates(self) -> tuple[Gate, ...]:
        """The declared gates; a comparison with the champion is always among them."""
        if any(gate.within_champion is not None for gate in self.gates):
            return self.gates
        default = Gate(metric=self.main_metric, at_least=None, at_most=None, within_champion=0.01)
        return (*self.gates, default)

    def metric_mistakes(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Fields that name a metric which the task does not have: (path, message)."""
        allowed = TASK_METRICS[self.task]
        named: list[tuple[tuple[str | int, ...], str | None]] = [
            (("gates", index, "metric"), gate.metric) for index, gate in enumerate(self.gates)
        ]
        named.append((("react", "rollback", "metric"), self.react.rollback.metric))
        return [
            (path, f"must be one of {', '.join(allowed)} for {self.task}, not {metric!r}")
            for path, metric in named
            if metric is not None and metric not in allowed
        ]


_CRON_NAMES = {
    3: "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    4: "sun mon tue wed thu fri sat".split(),
}
_CRON_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def is_cron(expression: str) -> bool:
    """Whether `expression` has the five fields of crontab(5), each within its bounds."""
    fields = expression.split()
    return len(fields) == 5 and all(
        _is_cron_field(field.lower(), *_CRON_BOUNDS[place], names=_CRON_NAMES.get(place, []))
        for place, field in enumerate(fields)
    )


def _is_cron_field(field: str, low: int, high: int, names: list[str]) -> bool:
    def number(text: str) -> int | None:
        if text in names:
            return names.index(text) + low
        return int(text) if text.isdigit() else None

    for item in field.split(","):
        span, _, step = item.partition("/")
        if "/" in item and not (step.isdigit() and int(step) > 0):
            return False
        if span == "*":
            continue
        start, dash, end = span.partition("-")
        bounds = [number(start), number(end)] if dash else [number(start)]
        if any(bound is None or not low <= bound <= high for bound in bounds):
            return False
        if dash and bounds[0] > bounds[1]:  # type: ignore[operator]
            return False
    return True
