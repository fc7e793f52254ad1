"""Whatever is wanted, what is rendered is what HAProxy takes, and nothing else can be wanted."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.gateway.admin import Counts
from mlops_pipelines.release.gateway.ledger import Ledger
from mlops_pipelines.release.gateway.render import AGAIN, Listening, render, render_again
from mlops_pipelines.release.gateway.state import (
    HEAVIEST,
    ROLES,
    Route,
    Server,
    State,
    read_state,
    write_state,
)
from mlops_pipelines.release.targets.target import Traffic
from tests.conftest import require
from tests.release.gateway.conftest import refusal

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,40}", fullmatch=True).filter(
    lambda name: not name.endswith(".standby")
)
MODELS = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)
ADDRESSES = st.ip_addresses().map(str).filter(lambda address: "%" not in address)


@st.composite
def servers(draw: st.DrawFn) -> tuple[Server, ...]:
    roles = draw(st.dictionaries(st.integers(1, 5), st.sampled_from(ROLES), max_size=3))
    names = draw(st.lists(NAMES, unique=True, max_size=6)) if roles else []
    found = []
    for name in names:
        version = draw(st.sampled_from(sorted(roles)))
        address, port = draw(ADDRESSES), draw(st.integers(1, 65535))
        most = draw(st.integers(1, 9999))
        found.append(Server(name, address, port, version, f"b{version}", roles[version], most))
    return tuple(found)


@st.composite
def routes(draw: st.DrawFn, model: str) -> Route:
    return Route(
        model,
        draw(servers()),
        percent=draw(st.integers(0, 100)),
        wanted=draw(st.integers(0, 64)),
        standby_until=draw(st.none() | st.floats(0, 1e10)),
        switching=draw(st.booleans()),
    )


@st.composite
def states(draw: st.DrawFn) -> State:
    models = draw(st.lists(MODELS, unique=True, max_size=3))
    return State({model: draw(routes(model)) for model in models})


@settings(max_examples=40, deadline=None)
@given(states())
def test_haproxy_takes_whatever_is_rendered_and_state_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, state: State
) -> None:
    if shutil.which("haproxy") is None:
        require("docker", "there is no haproxy on this machine")
    folder = tmp_path_factory.mktemp("render")
    write_state(folder / "state.json", state)
    assert read_state(folder / "state.json") == state
    text = render(state, Listening(":8080", ":8081", str(folder)))
    (folder / "haproxy.cfg").write_text(text)
    (folder / AGAIN).write_text(render_again(state))
    assert refusal(folder / "haproxy.cfg") is None
    backends = text[text.find("\nbackend model_") :] if state.routes else ""
    lines = [line.split() for line in backends.splitlines() if line.startswith("    server ")]
    wanted = [entry for route in state.routes.values() for entry in route.entries()]
    assert sorted(line[1] for line in lines) == sorted(entry.name for entry in wanted)


@given(routes("m"))
def test_a_second_try_goes_to_an_entry_that_could_answer(route: Route) -> None:
    named = {entry.name: entry for entry in route.entries() if entry.enabled}
    roles = {server.role for server in route.servers}
    if route.second:
        taker = named[route.second].server.role
        assert taker == ("serving" if {"challenger", "serving"} <= roles else "standby")
    else:
        assert "standby" not in roles and not {"challenger", "serving"} <= roles


@given(routes("m"))
def test_shares_are_what_was_asked_for_and_somebody_answers(route: Route) -> None:
    entries = route.entries()
    active = [entry for entry in entries if entry.enabled and not entry.backup]
    total = sum(entry.weight for entry in active)
    assert all(0 <= entry.weight <= HEAVIEST for entry in entries)
    backups = {e.server.role for e in entries if e.backup and e.enabled}
    assert backups <= ({"standby"} if route.of_role("standby") else {"serving"})
    challengers, serving = route.of_role("challenger"), route.of_role("serving")
    if serving and (route.percent < 100 or not challengers):
        assert total > 0
    if serving and challengers and 10 <= route.percent <= 90:
        given_ = sum(e.weight for e in active if e.server.role == "challenger")
        # One part in 256 is the finest weight there is.
        assert abs(100 * given_ / total - route.percent) < 3
    if not challengers:
        assert all(e.weight for e in active)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a b"},
        {"name": "a\nserver evil 1.2.3.4:80"},
        {"name": "a;disable server"},
        {"name": ""},
        {"name": "a.standby"},
        {"name": "x" * 200},
        {"address": "host.name"},
        {"address": "10.0.0.1 backup"},
        {"address": ""},
        {"address": "fe80::1%eth0"},
        {"port": 0},
        {"port": 70000},
        {"role": "boss"},
        {"most": 0},
    ],
    ids=str,
)
def test_what_could_be_read_as_something_else_is_refused(change: dict[str, object]) -> None:
    sound = Server("a", "10.0.0.1", 8080, 1, "b", "serving")
    with pytest.raises(TargetError, match="the gateway takes no server"):
        replace(sound, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["", "A", "a/b", "a b", "a\n", "../x", "1a"])
def test_a_model_that_is_no_path_is_refused(model: str) -> None:
    with pytest.raises(TargetError, match="takes no model"):
        Route(model)
    with pytest.raises(TargetError, match="no percent"):
        Route("m", percent=101)


@pytest.mark.parametrize("content", ["", "[]", '{"routes": [{}]}', '{"routes": [1]}'])
def test_a_state_that_cannot_be_read_is_told(tmp_path: Path, content: str) -> None:
    file = tmp_path / "state.json"
    assert read_state(file) == State()
    file.write_text(content)
    with pytest.raises(TargetError, match=re.escape(str(file)) + " cannot be read"):
        read_state(file)


def test_totals_survive_servers_that_go_and_processes_that_begin_anew(tmp_path: Path) -> None:
    file = tmp_path / "counted.json"
    versions = {"a": 1, "b": 2}
    Ledger(file).note(
        versions, {"a": Counts("a", 10, 1, 2, 0.5, 0), "b": Counts("b", 4, 0, 0, 1, 0)}
    )
    ledger = Ledger(file)
    assert ledger.totals() == {1: Traffic(12, 3, 5.0), 2: Traffic(4, 0, 4.0)}
    now = {"a": Counts("a", 12, 3, 2, 0.5, 0), "c": Counts("c", 9, 2, 0, 0.5, 0)}
    assert ledger.errors_since(now) == {"a": 2, "c": 2}
    # HAProxy was started again, and counts from nothing.
    assert ledger.errors_since({"a": Counts("a", 3, 1, 0, 1.0, 0)}) == {"a": 1}
    ledger.note(versions, {"a": Counts("a", 3, 0, 0, 1.0, 0), "b": Counts("b", 4, 0, 0, 1, 0)})
    assert Ledger(file).totals() == {1: Traffic(15, 3, 8.0), 2: Traffic(4, 0, 4.0)}
    # One replica of two went; its version is there with another.
    ledger.note({"c": 1, "b": 2}, {"c": Counts("c", 1, 0, 0, 1.0, 0)})
    assert Ledger(file).totals() == {1: Traffic(16, 3, 9.0), 2: Traffic(4, 0, 4.0)}
    ledger.note({"c": 1}, {"c": Counts("c", 1, 0, 0, 1.0, 0)})
    assert Ledger(file).totals() == {1: Traffic(16, 3, 9.0)}
