"""The profiles of a model's days: counted once, kept in the store, and counted again on change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import DataError, NotFoundError
from mlops_pipelines.measure.profile import Profile
from mlops_pipelines.measure.window import (
    Bins,
    WindowProfile,
    read_file,
    segment_levels,
    to_json,
)
from mlops_pipelines.monitor.day_table import DayTable, ParquetDay, WarehouseDay
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from mlops_pipelines.train.registry import Registry

References = Callable[[int], Profile]
"""The reference profile of a version; raises NotFoundError where there is none."""

_READERS = 16


def profile_key(model: str, day: str) -> str:
    """Where the profiles of a day (UTC, YYYY-MM-DD) lie in the store."""
    return f"profiles/{model}/{day}.json"


def references_of(registry: Registry, model: str) -> References:
    """The reference profiles that training kept with the versions of `model`, each read once."""
    kept: dict[int, Profile] = {}

    def reference(version: int) -> Profile:
        if version not in kept:
            path = registry.fetch(model, version, "profile.json")
            kept[version] = Profile.from_json(path.read_text(encoding="utf-8"))
        return kept[version]

    return reference


def profile_day(
    store: Store,
    spec: ModelSpec,
    day: str,
    references: References,
    warehouse: BaseBackend | None = None,
    *,
    threads: int | None = None,
) -> tuple[WindowProfile, ...]:
    """A window for each version that answered on `day`, counted where it is not kept as it is.

    The rows are the store's, or those of `warehouse`. Counting again writes the same bytes but for
    the last digits of sums; once the rows are gone, what was counted stays. A version without a
    reference is left out. Raises StoreError.
    """
    table: DayTable = (
        ParquetDay(store, spec.name, day, threads)
        if warehouse is None
        else WarehouseDay(warehouse, spec.name, day)
    )
    key = profile_key(spec.name, day)
    told = _told(store, key)
    stamp = table.stamp()
    if stamp is None:
        return () if told is None else told[0]
    source = {"rows": stamp, "segments": list(spec.data.segments)}
    if told is not None and told[1].get("source") == source:
        return told[0]

    def bins(version: int) -> tuple[Profile, dict[str, tuple[str, ...]]] | None:
        try:
            reference = references(version)
        except NotFoundError:
            return None
        return reference, segment_levels(reference, spec.data.segments)

    windows = [
        WindowProfile(spec.name, version, day, _next(day), whole, segments)
        for version, (whole, segments) in table.count(bins).items()
    ]
    store.write_bytes(key, to_json(windows, source=source).encode())
    return tuple(windows)


def profile_days(
    store: Store,
    spec: ModelSpec,
    days: Iterable[str],
    references: References,
    warehouse: BaseBackend | None = None,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[WindowProfile, ...]]:
    """`profile_day` of many days, `workers` of them side by side, sharing the cores.

    `progress` is told how many are done, and of how many. Raises what the first failing day raises;
    the days that were done stay done.
    """
    wanted = sorted(set(days))
    done: dict[str, tuple[WindowProfile, ...]] = {}
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        asked = {
            pool.submit(profile_day, store, spec, day, references, warehouse, threads=threads): day
            for day in wanted
        }
        try:
            for each in as_completed(asked):
                done[asked[each]] = each.result()
                if progress is not None:
                    progress(len(done), len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {day: done[day] for day in wanted}


def window_of(
    store: Store,
    spec: ModelSpec,
    version: int,
    day: str,
    references: References,
    warehouse: BaseBackend | None = None,
) -> WindowProfile | None:
    """What `version` answered on `day`; None where it answered nothing."""
    found = profile_day(store, spec, day, references, warehouse)
    return next((window for window in found if window.version == version), None)


def windows(
    store: Store, model: str, first: str = "", last: str = "9999", version: int | None = None
) -> tuple[WindowProfile, ...]:
    """The kept windows of the days `first` to `last` (both included), in order; nothing is counted.

    Of `version`, or of all. Raises StoreError, and DataError where a file is not as it was written.
    """
    keys = [
        key
        for key in store.keys(f"profiles/{model}")
        if first <= key.rpartition("/")[2].removesuffix(".json") <= last
    ]
    if "://" in store.root and keys:
        with ThreadPoolExecutor(max_workers=min(_READERS, len(keys))) as pool:
            texts: Sequence[bytes] = list(pool.map(store.read_bytes, keys))
    else:
        texts = [store.read_bytes(key) for key in keys]
    bins: list[tuple[Any, Bins]] = []
    found: list[WindowProfile] = []
    for key, text in zip(keys, texts, strict=True):
        try:
            found += read_file(text, bins)[0]
        except DataError as error:
            raise DataError(
                f"{store.shown}: {key}: {error}; remove it, and it is counted again"
            ) from error
    return tuple(window for window in found if version in (None, window.version))


def _told(store: Store, key: str) -> tuple[tuple[WindowProfile, ...], dict[str, Any]] | None:
    """What is kept of a day; None where that is nothing, or not readable."""
    try:
        return read_file(store.read_bytes(key))
    except (NotFoundError, DataError):
        return None


def _next(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
