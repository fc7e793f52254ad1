"""Canaries over a target in memory: step by step, back on any fault, whole after any crash."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mlops_pipelines import record
from mlops_pipelines.errors import BusyError, MlopsError, ReleaseError
from mlops_pipelines.release.rollout import Deployment, Mended, reconcile, release, roll_back
from mlops_pipelines.release.strategy.drive import Clock
from mlops_pipelines.release.strategy.progress import progress_of
from mlops_pipelines.release.targets.target import Service, WeightedTarget
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry
from tests.release.conftest import MODEL, cancer_spec
from tests.release.twin import Killed, Twin, TwinBooks, front_door, twin_bundles

VERSIONS = 4
CANARY = {
    "steps": [5, 50],
    "bake_seconds": 30,
    "min_requests": 40,
    "deadline_minutes": 5,
}


@dataclass
class Scene:
    """A target and books in memory, whose time passes only while a canary sleeps.

    In each sleep `during` happens, and callers ask; `failing` versions fail every second time.
    """

    twin: Twin
    books: TwinBooks
    store: Store
    spec: ModelSpec
    requests: int = 200
    failing: tuple[int, ...] = ()
    time: float = 0.0
    during: list[Callable[[], None]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def _sleep(self, seconds: float) -> None:
        self.time += seconds
        self.twin.ask(self.requests, self.failing)
        if self.during:
            self.during.pop(0)()

    @property
    def _all(self) -> tuple[Registry, Store, Twin, ModelSpec]:
        return cast(Registry, self.books), self.store, self.twin, self.spec

    def release(self, version: int, force: bool = False) -> Deployment:
        clock = Clock(lambda: self.time, self._sleep)
        return release(*self._all, version, "ann", force=force, clock=clock)

    def roll_back(self, to: int | None = None, failed: int | None = None) -> Deployment:
        return roll_back(*self._all, to, "ann", "worse", {}, failed)

    def reconcile(self) -> Mended:
        return reconcile(*self._all)

    @property
    def quarantined(self) -> dict[int, str]:
        tags = self.books.tags
        return {v: tags[v][record.QUARANTINED] for v in tags if record.QUARANTINED in tags[v]}

    @property
    def champion(self) -> int | None:
        return self.books.aliases.get(record.CHAMPION)


class Worlds:
    """Makes scenes: the bundles and the address are the same for all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.store = Store(str(folder / "store"))
        self.digests = twin_bundles(self.store, MODEL, VERSIONS, folder)
        self.twin: Twin | None = None
        self.address = ""

    def scene(self, **canary: Any) -> Scene:
        home = Path(tempfile.mkdtemp(dir=self._folder))
        self.twin = twin = Twin(home, self.address)
        assert isinstance(twin, WeightedTarget)
        said = {"strategy": "canary", "canary": CANARY | canary}
        books = TwinBooks(MODEL, self.digests, twin.faults)
        return Scene(twin, books, self.store, cancer_spec(release=said))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    folder = tmp_path_factory.mktemp("twins")
    made = Worlds(folder)
    with front_door(MODEL, lambda: made.twin.answering() if made.twin else None) as address:
        made.address = address
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def scene(worlds: Worlds) -> Scene:
    """Version 1 serves."""
    made = worlds.scene()
    first = made.release(1)
    assert (first.strategy, first.steps, first.shares) == ("blue_green", (), {1: 100})
    return made


def test_a_canary_takes_its_steps_and_leaves_a_standby(scene: Scene) -> None:
    done = scene.release(2)
    assert (done.action, done.strategy, done.version, done.previous) == ("deploy", "canary", 2, 1)
    assert done.shares == {2: 100}
    assert done.standby == 1
    assert len(done.steps) == 2
    assert done.steps[0].startswith("5 %: 300 answers, 0 failed (champion 5700, 0), 3 ms")
    assert done.steps[1].startswith("50 %: 3000 answers")
    assert (scene.champion, scene.quarantined) == (2, {})
    assert 60 <= scene.time < 65
    assert not scene.reconcile()
    assert scene.release(2).action == "unchanged"


def test_an_older_version_is_wanted_back_at_once(scene: Scene) -> None:
    scene.release(2)
    then = scene.time
    back = scene.release(1)
    assert (back.action, back.strategy, scene.time) == ("rollback", "blue_green", then)


def test_a_challenger_that_fails_goes_back_and_is_quarantined(scene: Scene) -> None:
    scene.failing = (2,)
    with pytest.raises(ReleaseError) as caught:
        scene.release(2)
    assert "\n" not in str(caught.value)
    assert "version 2 was taken back at 5 % of the traffic: 5 of its 10 answers failed" in str(
        caught.value
    )
    assert str(caught.value).endswith("Fisher's exact test); version 1 has all traffic")
    assert scene.twin.shares() == {1: 100}
    assert list(scene.twin.running) == [1]
    assert scene.champion == 1
    assert scene.quarantined[2].startswith("canary at 5 %: 5 of its 10 answers failed")
    assert not scene.reconcile()
    with pytest.raises(ReleaseError, match="version 2 is in quarantine"):
        scene.release(2)
    scene.failing = ()
    assert scene.release(2, force=True).shares == {2: 100}


def test_a_challenger_that_does_not_start_moves_nothing(scene: Scene) -> None:
    scene.twin.sick.add(2)
    with pytest.raises(ReleaseError, match="does not answer its golden rows; version 1 has all"):
        scene.release(2)
    assert (scene.twin.shares(), scene.quarantined) == ({1: 100}, {})


def test_a_challenger_that_falls_silent_goes_back(scene: Scene) -> None:
    scene.during = [lambda: None, lambda: scene.twin.sick.add(2)]
    with pytest.raises(ReleaseError, match="none of its replicas answers the gateway"):
        scene.release(2)
    assert (list(scene.twin.running), list(scene.quarantined)) == ([1], [2])


def test_too_few_requests_end_at_the_deadline(scene: Scene, worlds: Worlds) -> None:
    scene.requests = 10
    scene.requests = 0
    with pytest.raises(ReleaseError, match=r"deadline of 5 min has passed.*0 answers, 40 are"):
        scene.release(2)
    assert (scene.champion, scene.quarantined) == (1, {})
    assert 300 <= scene.time < 302
    bold = worlds.scene(at_deadline="go_on")
    bold.release(1)
    bold.requests = 0
    assert bold.release(2).shares == {2: 100}


def test_a_clock_that_jumps_past_the_deadline_goes_back(scene: Scene) -> None:
    def jump() -> None:
        scene.time += 10_000

    scene.during = [jump]
    with pytest.raises(ReleaseError, match="the deadline of 5 min has passed"):
        scene.release(2)
    assert scene.twin.shares() == {1: 100}


def test_a_rollback_does_not_wait_for_the_end_of_a_canary(scene: Scene) -> None:
    scene.release(2)
    refused: list[str] = []

    def ask() -> None:
        with pytest.raises(BusyError) as busy:
            scene.roll_back()
        refused.append(str(busy.value))

    scene.during = [lambda: None, ask]
    with pytest.raises(ReleaseError, match="a rollback was asked for by ann; version 2 has all"):
        scene.release(3)
    assert "was told to go back, which takes seconds" in refused[0]
    assert scene.quarantined == {}
    # Asked again, it rolls back what serves.
    assert (scene.roll_back().version, scene.champion) == (1, 1)
    assert scene.release(3).version == 3


def test_the_champion_may_die_during_a_canary(scene: Scene) -> None:
    scene.during = [lambda: None, lambda: scene.twin.sick.add(1)]
    with pytest.raises(ReleaseError, match="version 2 has all traffic, since version 1 does not"):
        scene.release(2)
    assert "the books named version 1: mended" in str(scene.reconcile())
    assert (scene.champion, scene.twin.shares()) == (2, {2: 100})
    assert not scene.reconcile()


def test_a_killed_canary_is_taken_back(scene: Scene) -> None:
    def kill() -> None:
        scene.twin.faults.kill_at = scene.twin.faults.calls

    scene.during = [lambda: None] * 40 + [kill]
    with pytest.raises(Killed):
        scene.release(2)
    scene.twin.faults.reset()
    assert scene.twin.shares() == {1: 50, 2: 50}
    assert str(scene.reconcile()) == (
        "the canary of version 2 was interrupted at 50 %: version 1 has all traffic"
    )
    assert (scene.twin.shares(), list(scene.twin.running)) == ({1: 100}, [1])
    assert (scene.champion, scene.quarantined) == (1, {})


def test_a_canary_that_was_killed_with_all_traffic_is_finished(scene: Scene) -> None:
    real = scene.twin.weigh

    def weigh(model: str, version: int, percent: int) -> None:
        real(model, version, percent)
        if percent == 100:
            scene.twin.faults.kill_at = scene.twin.faults.calls

    scene.twin.weigh = weigh  # type: ignore[method-assign]
    with pytest.raises(Killed):
        scene.release(2)
    scene.twin.faults.reset()
    assert scene.champion == 1
    assert "version 2 has the traffic and the books named version 1" in str(scene.reconcile())
    assert (scene.champion, scene.twin.shares()) == (2, {2: 100})


def test_a_rollback_switches_to_the_standby_and_ends_the_failed_one(scene: Scene) -> None:
    scene.release(2)
    back = scene.roll_back()
    assert (back.version, back.quarantined, back.standby) == (1, 2, None)
    assert (list(scene.twin.running), scene.champion) == ([1], 1)
    assert list(scene.quarantined) == [2]
    assert not scene.reconcile()


def test_a_rollback_that_was_killed_is_completed_from_what_was_noted(scene: Scene) -> None:
    real = scene.twin.switch

    def killed_after(*said: Any) -> Service:
        found = real(*said)
        scene.twin.faults.kill_at = scene.twin.faults.calls
        return found

    def killed_before(*said: Any) -> Service:
        scene.twin.faults.kill_at = scene.twin.faults.calls
        return real(*said)

    for version, switch, moved in ((2, killed_after, True), (3, killed_before, False)):
        scene.twin.switch = real  # type: ignore[method-assign]
        scene.release(version)
        scene.twin.switch = switch  # type: ignore[method-assign]
        with pytest.raises(Killed):
            scene.roll_back()
        scene.twin.faults.reset()
        scene.twin.switch = real  # type: ignore[method-assign]
        # Callers come first: no book says anything yet.
        assert (scene.champion, version in scene.quarantined) == (version, False)
        assert scene.twin.shares() == ({1: 100} if moved else {version: 100})
        assert scene.reconcile()
        assert (scene.champion, scene.twin.shares()) == (1, {1: 100})
        assert (list(scene.twin.running), version in scene.quarantined) == ([1], True)
        assert not scene.reconcile()


def test_the_books_follow_a_gateway_that_moved_the_traffic(scene: Scene) -> None:
    scene.release(2)
    scene.twin.sick.add(2)
    assert scene.twin.answering() == 1
    done = scene.reconcile()
    reason = "lost its traffic at the gateway: 0 of its 1 replicas are healthy"
    assert str(done) == f"version 2 {reason}"
    assert done.moved is not None
    assert (done.moved.action, done.moved.version, done.moved.quarantined) == ("rollback", 1, 2)
    assert done.moved.actor == "gateway"
    assert scene.quarantined == {2: reason}
    assert (scene.champion, list(scene.twin.running)) == (1, [1])
    # The one that failed answers again, and gets nothing.
    scene.twin.sick.clear()
    assert not scene.reconcile()
    assert scene.twin.shares() == {1: 100}


def test_a_rollback_after_the_gateway_moved_the_traffic_makes_it_last(scene: Scene) -> None:
    scene.release(2)
    scene.twin.sick.add(2)
    back = scene.roll_back()
    assert (back.version, back.quarantined, scene.champion) == (1, 2, 1)
    assert list(scene.twin.running) == [1]


def test_books_that_were_changed_by_hand_quarantine_nobody(scene: Scene) -> None:
    scene.release(2)
    scene.books.aliases[record.CHAMPION] = 1
    assert "version 2 has the traffic and the books named version 1" in str(scene.reconcile())
    assert (scene.champion, scene.quarantined) == (2, {})


def test_a_release_asked_for_before_anybody_mended_a_killed_canary(scene: Scene) -> None:
    scene.twin.faults.kill_at = scene.twin.faults.calls + 60
    with pytest.raises(Killed):
        scene.release(2)
    scene.twin.faults.reset()
    assert scene.release(3).shares == {3: 100}
    assert (scene.champion, sorted(scene.twin.running)) == (3, [1, 3])


class Rollouts(RuleBasedStateMachine):
    """Whatever is asked for, and whatever fails on the way."""

    worlds: Worlds

    @initialize(
        steps=st.sampled_from([[5], [10, 50]]),
        at_deadline=st.sampled_from(["go_back", "go_on"]),
        strategy=st.sampled_from(["canary", "canary", "blue_green"]),
        served=st.sampled_from([(), (1,), (1, 2), (2, 1, 3)]),
    )
    def begin(
        self, steps: list[int], at_deadline: str, strategy: str, served: tuple[int, ...]
    ) -> None:
        self.scene = self.worlds.scene(steps=steps, at_deadline=at_deadline, bake_seconds=3)
        if strategy == "blue_green":
            said = {"release": {"strategy": "blue_green"}}
            self.scene.spec = cancer_spec(**said)
        self.twin = self.scene.twin
        for version in served:
            self.scene.release(version)

    calls = st.integers(0, 70)
    faults = st.one_of(
        st.just({}),
        st.builds(lambda n: {"kill_at": n}, calls),
        st.builds(lambda n: {"fail_before": n}, st.sets(calls, min_size=1, max_size=3)),
        st.builds(lambda n: {"fail_after": n}, st.sets(calls, min_size=1, max_size=3)),
        st.builds(lambda n, m: {"fail_after": {n}, "kill_at": n + m}, calls, st.integers(1, 9)),
    )
    events = st.lists(
        st.sampled_from(
            ["nothing"] * 6 + ["jump", "roll back", "sick 1", "sick 2", "sick 3", "well"]
        ),
        max_size=6,
    )

    @rule(
        version=st.integers(1, VERSIONS),
        force=st.booleans(),
        failing=st.sampled_from([(), (2,), (3,), (4,)]),
        faults=faults,
        events=events,
    )
    def a_release(
        self,
        version: int,
        force: bool,
        failing: tuple[int, ...],
        faults: dict[str, Any],
        events: list[str],
    ) -> None:
        self.scene.failing = failing
        self.scene.during = [partial(self._happens, each) for each in events]
        self._run(lambda: self.scene.release(version, force), faults)

    @precondition(lambda self: self.twin.running)
    @rule(to=st.none() | st.integers(1, VERSIONS), faults=faults)
    def a_rollback(self, to: int | None, faults: dict[str, Any]) -> None:
        self._run(lambda: self.scene.roll_back(to), faults)

    @rule(faults=faults)
    def a_tick_that_fails(self, faults: dict[str, Any]) -> None:
        self._run(self.scene.reconcile, faults)

    @rule(version=st.integers(1, VERSIONS))
    def a_version_falls_silent(self, version: int) -> None:
        self.twin.sick.add(version)

    @rule()
    def all_answer_again(self) -> None:
        self.twin.sick.clear()

    @precondition(lambda self: self.twin.running)
    @invariant()
    def somebody_has_all_the_traffic(self) -> None:
        assert sum(self.twin.shares().values()) == 100

    @rule()
    def a_tick(self) -> None:
        """After it exactly one version serves, and the books say so."""
        self.twin.faults.reset()
        said = Mended(())
        try:
            said = self.scene.reconcile()
        except MlopsError:
            # What should serve does not start: what does serve goes on, until it is mended.
            assert self.twin.sick
            assert list(self.twin.shares().values()) == [100]
            self.twin.sick.clear()
            said = self.scene.reconcile()
        self.twin.faults.reset()
        if not self.twin.running:
            assert self.scene.champion is None
            return
        [(version, share)] = self.twin.shares().items()
        assert share == 100, said
        service = self.twin.service(MODEL)
        assert service is not None
        assert version == service.version == self.scene.champion, said
        assert not [each for each in self.twin.running.values() if each.role == "challenger"], said
        others = {each.version for each in service.others}
        assert len(others) <= 1, said
        assert not others & set(self.scene.quarantined), said
        last = progress_of(self.twin, MODEL)
        assert last is not None
        assert (last.over, last.version) == (True, version), said
        assert not self.scene.reconcile()

    def teardown(self) -> None:
        if hasattr(self, "scene"):
            self.a_tick()

    def _happens(self, what: str) -> None:
        if what == "jump":
            self.scene.time += 10_000
        elif what.startswith("sick"):
            self.twin.sick.add(int(what[-1]))
        elif what == "well":
            self.twin.sick.clear()
        elif what == "roll back" and not self.twin.faults.dead:
            with pytest.raises(MlopsError):
                self.scene.roll_back()

    def _run(self, what: Callable[[], Any], faults: dict[str, Any]) -> None:
        self.twin.faults.reset()
        for name, value in faults.items():
            setattr(self.twin.faults, name, value)
        with suppress(MlopsError, Killed):
            what()
        self.twin.faults.reset()


def test_after_any_failures_one_version_serves_and_the_books_agree(worlds: Worlds) -> None:
    class Machine(Rollouts):
        pass

    Machine.worlds = worlds
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
