from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.gateway.state import Role, Route
from tests.release.gateway.conftest import Replica, World, callers


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def put(world: World, percent: int = 0, **roles: list[Replica]) -> Route:
    """Want these replicas, by role."""
    names: dict[str, Role] = {
        "serving": "serving",
        "challenger": "challenger",
        "standby": "standby",
    }
    servers = tuple(one.server(names[role]) for role, found in roles.items() for one in found)
    return world.gateway.change("m", lambda r: replace(r, servers=servers, percent=percent))


def test_a_model_has_one_address_whose_prefix_the_server_never_sees(world: World) -> None:
    put(world, serving=[world.replica(1)])
    for path, seen in (
        ("/models/m/invocations", b"/invocations"),
        ("/models/m/v2/models/m/infer?x=1", b"/v2/models/m/infer?x=1"),
        ("/models/m/", b"/"),
        ("/models/m", b"/"),
        ("/models/m/models/m/y", b"/models/m/y"),
    ):
        status, headers, body = world.ask(path)
        assert (status, headers["x-model-version"], body) == (200, "1", seen)


def test_an_unknown_model_and_one_without_replicas_are_told_in_json(world: World) -> None:
    put(world, serving=[])
    for path in ("/models/other/invocations", "/", "/models/", "/models/m2"):
        status, headers, body = world.ask(path)
        assert (status, headers["content-type"]) == (404, "application/json")
        assert b"no such model" in body
    status, headers, body = world.ask()
    assert (status, headers["content-type"], headers["retry-after"]) == (
        503,
        "application/json",
        "1",
    )
    assert b"no replica" in body
    assert world.ask("/health")[0] == 200


def test_a_request_without_a_name_gets_one(world: World) -> None:
    one = world.replica(1)
    put(world, serving=[one])
    world.ask()
    world.ask(x_request_id="mine")
    world.ask(x_request_id="")
    world.ask(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    first, mine, empty, traced = one.asked()
    assert (mine, traced, len(first), len(empty)) == ("mine", "None", 36, 36)


def test_traffic_follows_roles_and_percent_without_a_reload(world: World) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[first])
    reloads = world.runner.reloads
    put(world, serving=[first], challenger=[second])
    assert world.versions(20) == {"1": 20}
    # Shares alone need no check of a whole configuration.
    checked = world.runner.checked
    put(world, serving=[first], challenger=[second], percent=25)
    assert 20 <= world.versions(100)["2"] <= 30
    put(world, standby=[first], serving=[second])
    assert world.versions(20) == {"2": 20}
    put(world, serving=[first], standby=[second])
    assert world.versions(20) == {"1": 20}
    put(world, serving=[first])
    assert world.runner.checked == checked
    assert set(world.gateway.running("m")) == {
        name for entry in world.gateway.route("m").entries() for name in [entry.name]
    }
    assert world.runner.reloads == reloads
    totals = world.gateway.traffic("m")
    assert totals[1].requests >= 40
    assert totals[1].errors == 0
    assert totals[1].seconds > 0


def test_a_second_model_is_added_while_callers_ask_the_first(world: World) -> None:
    put(world, serving=[world.replica(1)])
    other = world.replica(7)
    with callers(world.runner.port) as seen:
        seen.await_answers("1")
        world.gateway.change("n", lambda r: replace(r, servers=(other.server("serving"),)))
        assert world.ask("/models/n/invocations")[1]["x-model-version"] == "7"
        seen.await_answers("1")
    assert seen.failures == []


def test_a_reload_does_not_bring_a_failed_version_back(world: World) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[second], standby=[first])
    second.tell("fail")
    for _ in range(10):
        world.ask()
    second.untell("fail")
    world.gateway.change("n", lambda r: replace(r, servers=(first.server("serving"),)))
    time.sleep(1.2)
    assert world.versions(10) == {"1": 10}
    world.gateway.restore("m", [second.server("serving").name])
    assert world.versions(10) == {"2": 10}


def test_after_a_restart_it_does_what_it_did(world: World) -> None:
    first, second, third = (world.replica(version) for version in (1, 2, 3))
    put(world, standby=[first], serving=[second])
    put(world, standby=[first], serving=[second], challenger=[third], percent=50)
    before = world.gateway.running("m")
    assert world.gateway.agree("m") == ()
    world.runner.end()
    assert world.gateway.agree("m") == ("the gateway did not run: started",)
    assert world.gateway.running("m") == before
    assert world.gateway.agree("m") == ()
    assert world.versions(20) == {"2": 10, "3": 10}


def test_what_somebody_else_changed_is_mended(world: World) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[first], challenger=[second])
    name = first.server("serving").name
    world.gateway._admin.at_once([f"set server model_m/{name} state maint"])
    (said,) = world.gateway.agree("m")
    assert said.startswith("the gateway did otherwise than was wanted")
    assert world.versions(10) == {"1": 10}


def test_a_replica_that_moved_is_followed(world: World) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[first])
    server = first.server("serving")
    moved = replace(server, port=second.port)
    world.gateway.change("m", lambda r: replace(r, servers=(moved,)))
    assert world.versions(5) == {"2": 5}
    away = replace(server, address="127.0.0.2")
    world.gateway.change("m", lambda r: replace(r, servers=(away,)))
    assert {one.address for one in world.gateway.running("m").values()} == {"127.0.0.2"}


@pytest.mark.parametrize("switches", [20])
def test_switches_and_rollbacks_under_load_lose_nothing(world: World, switches: int) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[first], standby=[second])
    seconds = []
    with callers(world.runner.port) as seen:
        for _ in range(switches):
            for serving, standby in ((second, first), (first, second)):
                began = time.monotonic()
                put(world, serving=[serving], standby=[standby])
                seconds.append(time.monotonic() - began)
                seen.await_answers(str(serving.version), 8)
    assert seen.failures == []
    assert min(seen.answers["1"], seen.answers["2"]) >= 8 * switches


def test_releases_with_new_replicas_lose_nothing(world: World) -> None:
    replicas = [world.replica(version) for version in (1, 2, 3, 4)]
    put(world, serving=[replicas[0]])
    with callers(world.runner.port) as seen:
        for old, new in pairwise(replicas):
            put(world, serving=[old], challenger=[new])
            put(world, standby=[old], serving=[new])
            seen.await_answers(str(new.version))
            put(world, serving=[new])
            old.process.terminate()
    assert seen.failures == []
    assert world.gateway.traffic("m").keys() == {4}


def test_a_version_that_answers_500_loses_its_traffic_and_no_caller_sees_it(
    world: World,
) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[second], standby=[first])
    with callers(world.runner.port) as seen:
        seen.await_answers("2")
        second.tell("fail")
        _until(lambda: not world.gateway.running("m")[second.server("serving").name].up)
        second.untell("fail")
        # Its health page was green all the time.
        time.sleep(1.5)
        before = seen.answers["2"]
        seen.await_answers("1")
        assert seen.answers["2"] == before
    assert seen.failures == []
    totals = world.gateway.traffic("m")
    # What was under way when the third failed may fail as well.
    assert 3 <= totals[2].errors <= 20
    assert totals[1].errors == 0


def test_what_a_challenger_fails_on_the_champion_answers_under_the_same_name(world: World) -> None:
    first, second, third = (world.replica(version) for version in (1, 2, 3))
    put(world, serving=[first], challenger=[second], standby=[third], percent=50)
    second.tell("fail")
    answered = [world.ask(x_request_id=f"r{n}") for n in range(4)]
    assert [(status, said["x-model-version"]) for status, said, _ in answered] == [(200, "1")] * 4
    assert set(second.asked()) < {"r0", "r1", "r2", "r3"} == set(first.asked())
    assert world.gateway.traffic("m")[2].errors == 2


def test_a_row_that_no_version_answers_is_told_and_moves_nothing(world: World) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[second], standby=[first])
    for one in (first, second):
        one.tell("fail")
    assert world.ask()[0] == 500
    for one in (first, second):
        one.untell("fail")
    assert world.versions(10) == {"2": 10}
    assert (len(first.asked()), len(second.asked())) == (1, 11)


def test_who_is_asked_again_follows_roles_and_a_restart(world: World) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[first], standby=[second])
    put(world, serving=[second], standby=[first])
    for restarted in (False, True):
        if restarted:
            world.runner.end()
            world.gateway.agree("m")
        second.tell("fail")
        assert world.ask()[1]["x-model-version"] == "1"
        second.untell("fail")
        assert world.versions(1) == {"2": 1}
    put(world, serving=[second])
    second.tell("fail")
    assert world.ask()[0] == 500, "nobody else is there"


def test_a_body_that_is_too_long_to_be_kept_is_sent_once(world: World) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[second], standby=[first])
    assert world.ask(body=b"x" * 1_000_000)[0] == 200
    second.tell("fail")
    assert world.ask(body=b"x" * 1_000_000)[0] == 500
    assert first.asked() == []


def test_one_that_runs_with_what_an_older_release_wrote_takes_up_the_new(world: World) -> None:
    first = world.replica(1)
    put(world, serving=[first])
    reloads = world.runner.reloads
    world.runner.patience = 4
    with callers(world.runner.port) as seen:
        seen.await_answers("1")
        world.gateway.agree("m")
        seen.await_answers("1")
    assert (world.runner.reloads, seen.failures) == (reloads + 1, [])
    assert world.gateway.agree("m") == ()
    assert world.runner.reloads == reloads + 1


@pytest.mark.parametrize("how", ["kill", "stop", "sick"])
def test_a_version_that_dies_or_hangs_loses_its_traffic_and_no_request(
    world: World, how: str
) -> None:
    first, second = world.replica(1), world.replica(2)
    put(world, serving=[second], standby=[first])
    with callers(world.runner.port) as seen:
        seen.await_answers("2")
        if how == "kill":
            second.process.kill()
        elif how == "stop":
            os.kill(second.process.pid, signal.SIGSTOP)
        else:
            second.tell("sick")
        seen.await_answers("1")
    assert seen.failures == []


def test_one_of_two_replicas_is_killed_and_no_request_with_it(world: World) -> None:
    serving = [world.replica(2), world.replica(2)]
    put(world, serving=serving)
    with callers(world.runner.port) as seen:
        for _ in range(5):
            seen.await_answers("2", 50)
            dead, new = serving[0], world.replica(2)
            dead.process.kill()
            seen.await_answers("2", 50)
            serving = [serving[1], new]
            put(world, serving=serving)
    assert seen.failures == []
    asked = [name for replica in world.replicas for name in replica.asked()]
    assert len(set(asked)) == seen.answers["2"]


def test_without_a_standby_a_failing_version_is_better_than_none(world: World) -> None:
    only = world.replica(1)
    put(world, serving=[only])
    only.tell("fail")
    assert {world.ask()[0] for _ in range(20)} == {500}
    only.untell("fail")
    assert world.ask()[0] == 200


def test_more_than_a_server_takes_waits_in_the_gateway(world: World) -> None:
    one = world.replica(1)
    world.gateway.change("m", lambda r: replace(r, servers=(one.server("serving", most=1),)))
    with callers(world.runner.port) as seen:
        seen.await_answers("1", 100)
    assert seen.failures == []


def test_what_haproxy_refuses_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.replica(1)
    put(world, serving=[first])
    before = (world.folder / "haproxy.cfg").read_bytes()
    # Another HAProxy than this, which knows less.
    less = world.folder / "bin"
    less.mkdir()
    (less / "haproxy").write_text("#!/bin/sh\necho '[ALERT] unknown keyword' >&2\nexit 1\n")
    (less / "haproxy").chmod(0o755)
    monkeypatch.setenv("PATH", f"{less}:{os.environ['PATH']}")
    with pytest.raises(TargetError, match="unknown keyword.*the running one stays"):
        put(world, serving=[first], challenger=[world.replica(2)])
    assert (world.folder / "haproxy.cfg").read_bytes() == before
    assert [s.version for s in world.gateway.route("m").servers] == [1]
    assert world.versions(3) == {"1": 3}
