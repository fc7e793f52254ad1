"""Switches and rollbacks under load, measured by who answers the requests."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.common import Row, at_most, percentile, say
from benchmarks.release.load import CONNECTIONS, calling
from benchmarks.release.world import Model, World
from mlops_pipelines.release.rollout import release, roll_back

SECONDS = 1.0
PAUSE = 0.5
"""Seconds of load between two moves."""


def move_rows(world: World, scratch: Path, times: int) -> list[Row]:
    """A version is released and rolled back so many times, while callers ask without pause."""
    model = Model(world, "moved", {})
    kept, moved = model.register(), model.register()
    for version in (kept, moved):
        model.image(version)
    service = release(*model.books, kept, "bench-release")
    began: list[tuple[float, float]] = []
    switched: list[float] = []
    with calling(service.address, model.request(kept), scratch) as load:
        for turn in range(times):
            time.sleep(PAUSE)
            start = time.monotonic()
            release(*model.books, moved, "bench-release", force=True)
            switched.append(time.monotonic() - start)
            time.sleep(PAUSE)
            start = time.monotonic()
            roll_back(*model.books, kept, "bench-release", "as planned", {})
            began.append((start, time.monotonic()))
            say(f"{turn + 1}: switched in {switched[-1]:.1f} s, back in {began[-1][1] - start:.1f}")
        time.sleep(PAUSE)
    world.target.stop(model.name)
    seen = load.seen
    taken = []
    for start, end in began:
        by_failed = seen.of(moved)[:, 1]
        within = by_failed[(by_failed >= start) & (by_failed < end + PAUSE / 2)]
        taken.append(float(within.max()) - start if len(within) else 0.0)
    whole = [end - start for start, end in began]
    failed = len(seen.failed)
    return [
        Row(
            "rollback: decision → all traffic on the previous version",
            max(taken),
            "s",
            at_most(SECONDS),
            note=f"the slowest of {times} under load, median {percentile(taken, 0.5):.2f} s: from "
            "the call of roll_back to the last answer that a caller got of the failed version; the "
            "call, which ends that version and writes the books too, took "
            f"{percentile(whole, 0.5):.1f} s",
        ),
        Row(
            f"failed requests during {times} switches and {times} rollbacks under load",
            failed,
            "",
            at_most(0),
            note=f"{seen.count:,} requests over {CONNECTIONS} kept connections, none sent twice; "
            f"a switch started a container of the version and took {percentile(switched, 0.5):.1f} "
            f"s{'; ' + seen.statuses() if failed else ''}",
        ),
    ]
