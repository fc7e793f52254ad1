"""The serving version answers 500, and replicas are killed, while callers ask without pause."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.common import Row, at_most, percentile, say
from benchmarks.release.errors import RefusedError
from benchmarks.release.load import CONNECTIONS, calling
from benchmarks.release.world import GUARDED, Model, World
from mlops_pipelines.release.rollout import reconcile, release

FAILED, SECONDS = 10, 1.0
PAUSE = 1.0


def failing_rows(world: World, scratch: Path, times: int) -> list[Row]:
    """The model of what serves raises an error from one moment on; so many times."""
    model = Model(world, "failing", {})
    kept, guarded = model.register(), model.register(*GUARDED)
    for version in (kept, guarded):
        model.image(version)
    service = release(*model.books, kept, "bench-release")
    fault = world.target.log_dir(model.name) / "fail"
    failed, moved, again, requests, statuses = [], [], [], 0, set()
    for turn in range(times):
        release(*model.books, guarded, "bench-release", force=True)
        before = _errors(world, model, guarded)
        with calling(service.address, model.request(kept), scratch) as load:
            time.sleep(PAUSE)
            began = time.monotonic()
            fault.touch()
            left = _left_after(world, model, guarded, began)
            time.sleep(2 * SECONDS)
        again.append(_errors(world, model, guarded) - before)
        fault.unlink()
        reconcile(*model.books)
        seen, wrong = load.seen, load.seen.failed[:, 1]
        answers = seen.of(guarded)[:, 1]
        last = float(max([began, *wrong, *answers]))
        failed.append(len(wrong))
        moved.append(max(left, last - began))
        requests += seen.count
        statuses.add(seen.statuses())
        if not len(seen.between(last, float("inf")).of(kept)):
            raise RefusedError("the standby answered nothing")
        say(f"{turn + 1}: {failed[-1]} failed, traffic moved after {1000 * moved[-1]:.0f} ms")
    world.target.stop(model.name)
    return [
        Row(
            "failed requests when the serving version starts to answer 500",
            max(failed),
            "",
            at_most(FAILED),
            note=f"the most of {times} times, median {percentile(failed, 0.5):g}; {requests:,} "
            f"requests over {CONNECTIONS} connections, none sent twice by a caller"
            f"{_said(statuses)}; the version answered 500 to {min(again)} to {max(again)} of them, "
            "which the gateway sent to the standby",
        ),
        Row(
            "… until the traffic has moved",
            max(moved),
            "s",
            at_most(SECONDS),
            note=f"the slowest of {times}, median {percentile(moved, 0.5):.3f} s: from the moment "
            "the model is told to fail until the gateway gives its version nothing, and the last "
            "answer of that version. By the gateway alone",
        ),
    ]


def _errors(world: World, model: Model, version: int) -> int:
    """Answers of 500 that the gateway counted of a version since it is there."""
    counted = world.target.traffic(model.name).get(version)
    return counted.errors if counted else 0


def _left_after(world: World, model: Model, version: int, began: float) -> float:
    """Seconds since `began` until the gateway gives the version nothing."""
    while time.monotonic() < began + 30:
        found = world.target.service(model.name)
        if found is not None and version not in found.shares:
            return time.monotonic() - began
        time.sleep(0.005)
    raise RefusedError("the gateway did not take the traffic from the failing version")


def _said(statuses: set[str]) -> str:
    said = sorted(status for status in statuses if status)
    return f"; {'; '.join(said)}" if said else ""


def kill_rows(world: World, scratch: Path, times: int) -> list[Row]:
    """SIGKILL to one of two replicas, and a new one in its place; so many times."""
    model = Model(world, "killed", {"replicas": {"min": 2, "max": 2}})
    version = model.register()
    model.image(version)
    service = release(*model.books, version, "bench-release")
    client = world.engine.client
    mended = []
    with calling(service.address, model.request(version), scratch) as load:
        for turn in range(times):
            time.sleep(PAUSE)
            found = world.target.service(model.name)
            assert found is not None
            assert len(found.replicas) == 2
            client.api.kill(found.replicas[turn % 2].name, "SIGKILL")
            time.sleep(PAUSE)
            began = time.monotonic()
            reconcile(*model.books)
            mended.append(time.monotonic() - began)
            say(f"{turn + 1}: killed; replaced in {mended[-1]:.1f} s")
        time.sleep(PAUSE)
    world.target.stop(model.name)
    seen = load.seen
    failed = len(seen.failed)
    return [
        Row(
            f"failed requests when a replica is killed with SIGKILL, {times} times",
            failed,
            "",
            at_most(0),
            note=f"two replicas; {seen.count:,} requests over {CONNECTIONS} kept connections, none "
            "sent twice by a caller, who waited "
            f"{1000 * float((seen.requests[:, 1] - seen.requests[:, 0]).max()):.0f} ms at most; "
            f"each was replaced by reconcile in {percentile(mended, 0.5):.1f} s"
            f"{'; ' + seen.statuses() if failed else ''}",
        )
    ]
