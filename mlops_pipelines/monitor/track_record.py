"""How far a version's estimates were from the truth, on the nights whose labels are in by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from mlops_pipelines.measure.estimate import CONFIDENCE
from mlops_pipelines.monitor.night_runs import nights_with

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

ENOUGH = 5
"""So many scored nights before an estimate may raise an alarm, or is moved by what they showed."""

ERROR, MARGIN = "estimate_error", "estimate_margin"
"""Metrics of a night: realised − estimated on its labelled rows, before any correction, and half
the width of the interval that the estimate had there."""

_LOOKED_BACK = 60
_RECENT = 10


@dataclass(frozen=True)
class Scored:
    """A night that the truth is known of: realised − estimated, and half the interval's width.

    `metric` unit throughout; the estimate is the one before any correction.
    """

    day: str
    error: float
    margin: float


@dataclass(frozen=True)
class TrackRecord:
    """What `nights` scored nights say of the next estimate.

    `shift` is what it is moved by: the mean error of the last ten nights, as far as it is beyond
    chance. `mean_error` is the mean absolute error of the estimates as they were shown, and
    `deviation` the standard deviation of that error beyond what sampling explains.
    """

    nights: int
    mean_error: float | None
    shift: float
    deviation: float

    @property
    def enough(self) -> bool:
        """Whether an alarm may rest on estimates with this record."""
        return self.nights >= ENOUGH

    @property
    def sentence(self) -> str:
        """The record in words."""
        if self.mean_error is None:
            return "no night has been scored against its labels yet"
        nights = "night" if self.nights == 1 else "nights"
        return (
            f"estimates were off by {self.mean_error:.2g} on average over {self.nights} "
            f"{nights} with labels"
        )


NOTHING = TrackRecord(0, None, 0.0, 0.0)


def track_record(scored: Sequence[Scored], delay_days: int = 1) -> TrackRecord:
    """The record of nights in order of their day; labels came `delay_days` (at least 1) later.

    Each past night is corrected by what was known by then, as it was shown.
    """
    if not scored:
        return NOTHING
    delay = max(1, delay_days)
    days = [date.fromisoformat(each.day).toordinal() for each in scored]
    left = []
    for place, each in enumerate(scored):
        known = [scored[i].error for i in range(place) if days[i] <= days[place] - delay]
        left.append(each.error - _shift(known))
    errors = np.asarray(left)
    sampling = float(np.mean([(each.margin / CONFIDENCE) ** 2 for each in scored]))
    beyond = max(0.0, float((errors**2).mean()) - sampling)
    return TrackRecord(
        len(scored),
        float(np.abs(errors).mean()),
        _shift([each.error for each in scored]),
        float(np.sqrt(beyond)),
    )


def scored_nights(
    registry: Registry, model: str, version: int, before: str, metric: str
) -> list[Scored]:
    """The last 60 nights of a version before the day `before` that were scored, oldest first.

    Raises TrackingError.
    """
    nights = nights_with(registry, model, version, before, f"{ERROR}_{metric}")
    return [
        Scored(
            night.day,
            night.metrics[f"{ERROR}_{metric}"],
            night.metrics.get(f"{MARGIN}_{metric}", 0.0),
        )
        for night in nights[-_LOOKED_BACK:]
    ]


def _shift(errors: Sequence[float]) -> float:
    """The mean of the last ten errors, shrunk to nothing within two standard errors of zero."""
    recent = np.asarray(errors[-_RECENT:])
    if len(recent) < ENOUGH:
        return 0.0
    mean = float(recent.mean())
    chance = 2 * float(recent.std(ddof=1)) / np.sqrt(len(recent))
    # James & Stein's positive part: an error that chance explains is left alone.
    return mean * max(0.0, 1 - (chance / mean) ** 2) if mean else 0.0
