"""What a declaration may say: `assets/<model>/defs.yaml`, validated; knows no Dagster.

Every field has a description (the JSON schema that editors and `dg utils inspect-component`
show is made from it) and, except for name, task, data and estimator, a default that is safe.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from mlops_pipelines.cron import is_cron
from mlops_pipelines.data_spec import Data, Source
from mlops_pipelines.gate_spec import FAIRNESS, Gate, gap_exists
from mlops_pipelines.parts import ImportPath, Owner, Part, matching
from mlops_pipelines.release_spec import Release, Security
from mlops_pipelines.tasks import (
    ERROR_DROP,
    GATE_METRIC,
    IN_TARGET_UNIT,
    MAIN_METRIC,
    SCORE_DROP,
    Task,
)

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


class Drift(Part):
    """Which changes of the inputs count."""

    floor: float = Field(
        0.1, gt=0, lt=1, description="Jensen–Shannon distance below which no change counts"
    )
    floors: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict, description="the floor of single columns", examples=[{"age": 0.2}]
    )
    directions: dict[str, Literal["up", "down"]] = Field(
        default_factory=dict,
        description="columns of which only one direction is meant",
        examples=[{"amount": "up"}],
    )
    visible: float = Field(
        0.3, gt=0, lt=1, description="distance that a day must be able to show to be called ok"
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
    false_alarms_per_year: float = Field(
        1, gt=0, le=365, description="what alarms of drift, and of performance, may cost each"
    )
    drift: Drift = Field(default_factory=Drift)
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
    gates: tuple[Annotated[Gate, AfterValidator(gap_exists)], ...] = Field(
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
