"""What a declaration may say of gates: bounds on metrics, and on gaps between groups."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, model_validator

from mlops_pipelines.parts import Part
from mlops_pipelines.tasks import TASK_METRICS
from mlops_pipelines.wording import FieldError

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


def gap_exists(gate: Gate, info: ValidationInfo) -> Gate:
    """Refuse a gap that the task or the data do not have; raises FieldError.

    Checked here and not in ModelSpec, so that the mistake has the place of its gate.
    """
    task, data = info.data.get("task"), info.data.get("data")
    if not gate.fairness:
        return gate
    known = gaps_of(task) if task else ()
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


def gaps_of(task: str) -> tuple[str, ...]:
    """The gaps between groups that a gate of this task may bound."""
    of_metrics = tuple(f"{name}_difference" for name in TASK_METRICS[task])
    return tuple(dict.fromkeys((*FAIRNESS[task], *of_metrics)))
