"""The drift of one day, judged with what is kept of the days before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from mlops_pipelines import record
from mlops_pipelines.measure.profile import Profile
from mlops_pipelines.measure.statistics import by_column, divergence
from mlops_pipelines.measure.window import WindowProfile
from mlops_pipelines.monitor.heat_map import HeatMap
from mlops_pipelines.monitor.null_files import NullFiles
from mlops_pipelines.monitor.profiles import windows
from mlops_pipelines.monitor.verdict import Drift, judge, open_reference
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

_YEARS = timedelta(days=2 * 366)
_SUMMED = 27
"""With the day itself, the longest sum of days that is judged together."""


@dataclass(frozen=True)
class NightDrift:
    """The verdict on a day, the profiles that it rests on, and all days as a picture."""

    drift: Drift
    reference: Profile
    window: Profile
    heat_map: HeatMap


def night_drift(
    registry: Registry, store: Store, spec: ModelSpec, window: WindowProfile
) -> NightDrift:
    """Judge a day beside the version's other days of two years, which must be counted already.

    Days whose verdict was `ok` count as accepted: they show how much days differ by nature.
    Raises StoreError, TrackingError.
    """
    reference = open_reference(registry, spec.name, window.version)
    reference.keep_nulls(NullFiles(store, spec.name, window.version))
    day = date.fromisoformat(window.start)
    first = (day - _YEARS).isoformat()
    last = (day - timedelta(days=1)).isoformat()
    earlier = windows(store, spec.name, first, last, window.version)
    said = registry.nights_tagged(spec.name, window.version, record.VERDICTS["drift"])
    drift = judge(
        spec,
        reference,
        window.whole,
        accepted=[each.whole for each in earlier if said.get(each.start) == "ok"],
        previous=earlier[-1].whole if earlier else None,
        recent=[each.whole for each in earlier[-_SUMMED:]],
        segments=window.segments or None,
    )
    alarms = {each for each, status in said.items() if status == "alarm"}
    alarms |= {window.start} if drift.status == "alarm" else set()
    picture = heat_map(reference.profile, (*earlier, window), spec, frozenset(alarms))
    return NightDrift(drift, reference.profile, window.whole, picture)


def heat_map(
    reference: Profile, days: tuple[WindowProfile, ...], spec: ModelSpec, alarms: frozenset[str]
) -> HeatMap:
    """How far each column was from the reference on each of the days; days are in order."""
    distances = np.full((len(days), len(reference.columns)), np.nan)
    counted = by_column([each.whole for each in days])
    for place, (column, after) in enumerate(zip(reference.columns, counted, strict=True)):
        before = np.repeat(np.array(column.counts)[:, None], len(days), axis=1)
        n, m = max(1, column.n), np.maximum(1, after.sum(axis=0))
        cells = (after + before > 0).sum(axis=0)
        # What chance alone shows: a chi-squared of cells - 1 degrees, in bits of the divergence.
        by_chance = (cells - 1) * (n + m) / (n * m) / (8 * np.log(2))
        distances[:, place] = np.sqrt(np.maximum(0, divergence(before, after) - by_chance))
    return HeatMap(
        tuple(each.start for each in days),
        tuple(column.name for column in reference.columns),
        distances,
        spec.monitor.drift.floor,
        alarms,
    )
