"""How a version usually does, night by night, so that a bad night is told from a usual one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlops_pipelines import record
from mlops_pipelines.measure.chance import one_sided, student
from mlops_pipelines.measure.estimate import CONFIDENCE
from mlops_pipelines.measure.intervals import Interval
from mlops_pipelines.measure.metrics import better
from mlops_pipelines.monitor.night_runs import nights_with

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

ENOUGH = 5
"""So many sound nights before what they show counts."""

TOGETHER = 7
"""Nights, with the one that is judged, whose evidence is added up."""

NIGHTS_PER_YEAR = 365

DAYS = "days_together"
"""Metric of a night: how many days its rows are of, where those of one are too few."""

_YEARS = timedelta(days=2 * 366)
_TESTS = 2
"""The night alone and the nights together share the promised rate."""


@dataclass(frozen=True)
class Night:
    """What a night's labels showed: the metric, its standard error, and the rows of `days` days.

    `sound` says whether it raised no alarm.
    """

    day: str
    value: float
    error: float
    rows: float
    days: int = 1
    sound: bool = True


@dataclass(frozen=True)
class Usual:
    """What `nights` sound nights show: their mean `level`, and how far they differ by nature.

    `deviation` is the standard deviation between them beyond what sampling explains. `recent` are
    the nights before the one that is judged, sound or not, of the days that are judged with it.
    """

    nights: int = 0
    level: float | None = None
    deviation: float = 0.0
    recent: tuple[Night, ...] = ()

    @property
    def sentence(self) -> str:
        """In words; empty where there are too few nights."""
        if self.level is None:
            return ""
        return f"{self.level:.4g} on average of {self.nights} earlier nights"


UNKNOWN = Usual()


@dataclass(frozen=True)
class Fall:
    """Whether a metric fell, over the night alone or over `nights` together, and to which value."""

    fell: bool
    over: Literal["night", "nights", ""] = ""
    nights: int = 1
    value: float = 0.0


def usual(nights: Sequence[Night], day: str) -> Usual:
    """What the nights before `day` show; of nights whose days overlap, the later one counts."""
    until = date.fromisoformat(day)
    apart: list[Night] = []
    start = until
    for night in sorted(nights, key=lambda each: each.day, reverse=True):
        at = date.fromisoformat(night.day)
        if at < start and at >= until - _YEARS:
            apart.insert(0, night)
            start = at - timedelta(days=night.days - 1)
    first = until - timedelta(days=TOGETHER)
    recent = tuple(night for night in apart if date.fromisoformat(night.day) > first)
    sound = [night for night in apart if night.sound]
    if len(sound) < ENOUGH:
        return Usual(len(sound), recent=recent)
    values = np.array([night.value for night in sound])
    sampling = float(np.mean([night.error**2 for night in sound]))
    between = max(0.0, float(values.var(ddof=1)) - sampling)
    return Usual(len(sound), float(values.mean()), float(np.sqrt(between)), recent)


def fall(
    metric: str,
    shown: Interval,
    baseline: float,
    limit: float,
    alpha: float,
    earlier: Usual = UNKNOWN,
) -> Fall:
    """Whether the metric of a night lies beyond the `limit`, and chance does not explain it.

    Chance explains what a version that does as usual shows more often than in a share `alpha` of
    nights, of which the night alone and the last seven days together have half each. Usual is the
    `baseline` of the holdout until there are sound nights, then their level, but never better than
    the baseline nor beyond the limit: what production showed from its first night on is no fall,
    unless it lies beyond what was allowed. Nights differ from each other by more than their rows
    explain; the nights together are taken to share such a difference. They count only where the
    night itself lies beyond the limit too, and without those that fell by themselves, so that they
    are silent as soon as a dip is over.
    """
    if better(metric, limit, shown.value) <= 0:
        return Fall(False)
    expected = baseline
    if earlier.level is not None:
        worse = earlier.level if better(metric, baseline, earlier.level) > 0 else baseline
        expected = worse if better(metric, worse, limit) > 0 else limit
    share = alpha / _TESTS
    by_nature = 0.0
    if earlier.deviation:
        by_nature = student(share, earlier.nights - 1) * earlier.deviation

    def clear(value: float, error: float) -> bool:
        margin = float(np.hypot(one_sided(share) * error, by_nature))
        best = value + better(metric, 1, 0) * margin
        return better(metric, limit, value) > 0 and better(metric, expected, best) > 0

    best = shown.high if better(metric, 1, 0) > 0 else shown.low
    now = Night("", shown.value, abs(best - shown.value) / CONFIDENCE, float(shown.n))
    if clear(now.value, now.error):
        return Fall(True, "night", 1, now.value)
    # A night that fell by itself was told of by itself; with it, the nights after a dip would
    # still look bad.
    together = [night for night in earlier.recent if not clear(night.value, night.error)]
    together.append(now)
    if len(together) > 1:
        weights = np.array([night.rows for night in together])
        weights /= weights.sum()
        value = float(weights @ [night.value for night in together])
        error = float(np.sqrt(weights**2 @ np.array([night.error**2 for night in together])))
        if clear(value, error):
            return Fall(True, "nights", len(together), value)
    return Fall(False)


def earlier_nights(
    registry: Registry, model: str, version: int, before: str, metric: str
) -> list[Night]:
    """The nights of a version before the day `before` whose labels showed the metric, in order.

    Raises TrackingError.
    """
    return [
        Night(
            night.day,
            night.metrics[metric],
            (night.metrics[f"{metric}_high"] - night.metrics[f"{metric}_low"]) / (2 * CONFIDENCE),
            night.metrics.get("labelled", 1.0),
            int(night.metrics.get(DAYS, 1)),
            night.tags.get(record.VERDICTS["performance"]) != "alarm",
        )
        for night in nights_with(registry, model, version, before, f"{metric}_low")
        if metric in night.metrics
    ]
