from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines import record
from mlops_pipelines.errors import (
    BusyError,
    NotFoundError,
    ReleaseError,
    TargetError,
    TrackingError,
)
from mlops_pipelines.release.rollout import Deployment, reconcile, release, roll_back
from mlops_pipelines.release.targets.places import Places
from mlops_pipelines.release.targets.process import ProcessTarget
from mlops_pipelines.release.targets.processes import of_control_dir, staying
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry
from tests.release.conftest import MODEL, World, cancer_spec
from tests.release.killed import run_killed
from tests.release.load import load, one_row

Books = tuple[Registry, Store, ProcessTarget, ModelSpec]


def books(world: World) -> Books:
    return world.registry, world.store, world.target, world.spec


def aliases(world: World) -> tuple[int | None, int | None]:
    """Champion and previous."""
    return world.registry.champion(MODEL), world.registry.previous(MODEL)


def quarantined(world: World) -> list[int]:
    return [v.version for v in world.registry.versions(MODEL) if record.QUARANTINED in v.tags]


def place(world: World) -> dict[str, Any]:
    """Where things are, for another process."""
    return {
        "tracking_uri": world.registry.tracking_uri,
        "artifact_root": world.registry.artifact_root,
        "store": world.store.root,
        "home": str(world.home),
        "ports": (1024, 1025),
        "spec": world.spec.model_dump(),
    }


def answers_of(address: str, requests: int = 6) -> set[int]:
    """The versions that answer at the public address, each request on a connection of its own."""
    found = set()
    for _ in range(requests):
        with urllib.request.urlopen(f"{address}/health/ready", timeout=20) as response:
            found.add(int(json.load(response)["version"]))
    return found


def test_the_life_of_three_versions_under_load(world: World) -> None:
    first = release(*books(world), 1, "ann")
    assert (first.action, first.version, first.previous) == ("deploy", 1, None)
    assert first.rehearsal == "there is no earlier version to return to"
    assert aliases(world) == (1, None)
    assert world.registry.version(MODEL, 1).tags[record.DEPLOYED_BY] == "ann"

    with load(first.address, one_row(world.bundle(1)), kept=2) as seen:
        second = release(*books(world), 2, "bob", reason="better")
        assert second == Deployment(
            model=MODEL,
            version=2,
            previous=1,
            address=first.address,
            replicas=1,
            seconds=second.seconds,
            rehearsal="version 1 could take the traffic back: "
            "20 golden rows are answered as in training",
            action="deploy",
            actor="bob",
            reason="better",
            shares={2: 100},
        )
        assert aliases(world) == (2, 1)

        again = release(*books(world), 2, "bob")
        assert (again.action, aliases(world)) == ("unchanged", (2, 1))

        evidence = {"roc_auc": 0.8}
        back = roll_back(*books(world), None, "sensor", "roc_auc fell", evidence)
        assert (back.action, back.version, back.previous) == ("rollback", 1, 2)
        assert (back.quarantined, back.evidence, back.reason) == (2, evidence, "roc_auc fell")
        assert (aliases(world), quarantined(world)) == ((1, None), [2])
    assert seen.failures == []
    assert set(seen.answers) == {1, 2}

    completed = roll_back(*books(world), 1, "sensor", "roc_auc fell", evidence, failed=2)
    assert (completed.version, aliases(world), quarantined(world)) == (1, (1, None), [2])
    with pytest.raises(ReleaseError, match=r"version 2 is in quarantine \(roc_auc fell\)"):
        release(*books(world), 2, "bob")
    with pytest.raises(ReleaseError, match="there is no version to roll back to"):
        roll_back(*books(world), None, "bob", "not sure", {})
    with pytest.raises(ReleaseError, match="version 1 is the one that failed"):
        roll_back(*books(world), 1, "bob", "not sure", {})
    with pytest.raises(ReleaseError, match="version 1 serves by now, not version 3"):
        roll_back(*books(world), 2, "bob", "not sure", {}, failed=3)
    with pytest.raises(NotFoundError):
        release(*books(world), 9, "bob")
    assert (answers_of(first.address), quarantined(world)) == ({1}, [2])
    assert not reconcile(*books(world))

    forced = release(*books(world), 2, "bob", force=True)
    assert (forced.action, aliases(world)) == ("deploy", (2, 1))
    # Forced after its quarantine: no interrupted rollback, so it is left where it was put.
    assert not reconcile(*books(world))
    older = release(*books(world), 1, "ann")
    assert (older.action, older.quarantined, aliases(world)) == ("rollback", None, (1, None))


@pytest.fixture(scope="module")
def one_serves(shared: World) -> World:
    """Version 1 serves; tests that use it leave it serving."""
    release(*books(shared), 1, "ann")
    return shared


def test_a_release_that_cannot_start_leaves_the_serving_version(
    one_serves: World, broken: Path
) -> None:
    world = one_serves
    address = _address(world)
    digest = world.registry.version(MODEL, 3).tags[record.BUNDLE]
    elsewhere = Store(str(world.home / "elsewhere"))
    for version in (1, 2):
        found = world.registry.version(MODEL, version).tags[record.BUNDLE]
        key = f"bundles/{MODEL}/{found[:16]}"
        elsewhere.put_folder(key, world.store.local_folder(key))
    with pytest.raises(ReleaseError, match=r"version 3: its bundle \w+ is gone from the store"):
        release(world.registry, elsewhere, world.target, world.spec, 3, "bob")
    elsewhere.put_folder(f"bundles/{MODEL}/{digest[:16]}", broken)
    with pytest.raises(TargetError, match=r"model\.onnx was altered.*traffic did not move"):
        release(world.registry, elsewhere, world.target, world.spec, 3, "bob")
    assert (answers_of(address), aliases(world)) == ({1}, (1, None))


def test_a_version_that_fails_once_it_has_the_traffic_gives_it_back(one_serves: World) -> None:
    import logging

    world = one_serves

    class Fault(logging.Handler):
        """The upstream fault sets in at the moment of the switch."""

        def emit(self, line: logging.LogRecord) -> None:
            if "step=take_over" in line.getMessage():
                world.fault.touch()

    logger, handler = logging.getLogger("mlops_pipelines.release"), Fault()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with pytest.raises(TargetError, match="answers 503; version 1 serves again"):
            release(*books(world), 2, "bob")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        world.fault.unlink(missing_ok=True)
    assert (answers_of(_address(world)), aliases(world)) == ({1}, (1, None))


def test_a_tracking_server_that_is_down_moves_nothing(one_serves: World) -> None:
    world = one_serves
    down = Registry("http://127.0.0.1:9")
    with pytest.raises(TrackingError) as caught:
        release(down, world.store, world.target, world.spec, 2, "bob")
    assert "\n" not in str(caught.value)
    assert answers_of(_address(world)) == {1}


def test_of_two_releases_at_once_one_wins(one_serves: World) -> None:
    world = one_serves
    outcomes: list[str] = []
    both = threading.Barrier(2)

    def run(version: int) -> None:
        both.wait()
        try:
            done = release(*books(world), version, f"release of {version}")
            outcomes.append(f"version {done.version}")
        except BusyError as error:
            outcomes.append(str(error))

    callers = [threading.Thread(target=run, args=(version,)) for version in (2, 3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    [won] = [outcome for outcome in outcomes if outcome.startswith("version ")]
    [lost] = [outcome for outcome in outcomes if outcome != won]
    assert lost.startswith(f"cancer: release of {won[-1]} (pid ")
    assert answers_of(_address(world)) == {int(won[-1])}
    assert release(*books(world), 1, "ann").action == "rollback"


def test_without_a_gateway_a_canary_takes_all_traffic_at_once_and_says_so(
    one_serves: World,
) -> None:
    world = one_serves
    gradual = cancer_spec(release={"strategy": "canary"})
    done = release(world.registry, world.store, world.target, gradual, 3, "bob")
    assert (done.strategy, done.version) == ("canary", 3)
    assert done.steps == ("target process has no gateway: it took all traffic at once",)
    assert release(*books(world), 1, "ann").action == "rollback"


def test_reconcile_leaves_a_release_under_way_alone(one_serves: World) -> None:
    world, found = one_serves, list[str | None]()
    with world.target.lock(MODEL, "a release"):
        elsewhere = threading.Thread(target=lambda: found.append(bool(reconcile(*books(world)))))
        elsewhere.start()
        elsewhere.join()
    assert found == [False]


def test_dead_workers_are_started_again(one_serves: World) -> None:
    world = one_serves
    address = _address(world)
    for pid in _pids(world):
        os.kill(pid, signal.SIGKILL)
        assert staying([pid], 5) == []
    assert str(reconcile(*books(world))) == "no worker lived: started version 1 again"
    assert (_address(world), answers_of(address)) == (address, {1})


RELEASE_STEPS = (
    "start_workers",
    "workers_ready",
    "take_over",
    "switch",
    "verify",
    "alias_previous",
    "alias_champion",
    "tag",
)


def test_a_release_killed_after_any_step_leaves_one_version_and_is_mended(world: World) -> None:
    release(*books(world), 1, "ann")
    address = _address(world)
    for steps in range(1, len(RELEASE_STEPS) + 1):
        serving = world.registry.champion(MODEL)
        wanted = 3 if serving == 1 else 1
        after = RELEASE_STEPS[steps - 1]
        assert run_killed("release", steps, place(world), wanted), after
        [now] = answers_of(address)
        assert now == (serving if steps < 3 else wanted), after
        reconcile(*books(world))
        assert aliases(world) == (now, serving if now != serving else aliases(world)[1]), after
        assert answers_of(address) == {now}, after
        assert world.registry.version(MODEL, now).tags[record.DEPLOYED_AT]
        assert len(_serving(world)) == 1, after
        assert not reconcile(*books(world)), after
    assert not run_killed("release", len(RELEASE_STEPS) + 1, place(world), 2)
    assert aliases(world)[0] == 2


def test_a_rollback_killed_after_any_step_is_completed(world: World) -> None:
    release(*books(world), 1, "ann")
    release(*books(world), 2, "ann")
    release(*books(world), 3, "ann")
    address = _address(world)
    # Killed when the failing version is in quarantine: it still serves.
    assert run_killed("roll_back", 1, place(world), None)
    assert (answers_of(address), quarantined(world), aliases(world)) == ({3}, [3], (3, 2))
    said = str(reconcile(*books(world)))
    assert said == "the rollback from version 3 was interrupted: version 2 serves"
    assert (answers_of(address), aliases(world)) == ({2}, (2, 1))
    # Killed when traffic has moved, and asked for again in the same words.
    assert run_killed("roll_back", 4, place(world), None)
    assert (answers_of(address), quarantined(world), aliases(world)) == ({1}, [3, 2], (2, 1))
    done = roll_back(*books(world), None, "ann", "worse", {})
    assert (done.version, done.quarantined, aliases(world)) == (1, 2, (1, None))
    assert answers_of(address) == {1}


def _address(world: World) -> str:
    service = world.target.service(MODEL)
    assert service is not None
    return service.address


def _serving(world: World) -> Sequence[object]:
    service = world.target.service(MODEL)
    return service.replicas if service else ()


def _pids(world: World) -> list[int]:
    return of_control_dir(Places(world.home).control_dir(MODEL))
