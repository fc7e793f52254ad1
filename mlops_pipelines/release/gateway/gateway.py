"""The gateway of an environment: its state on the disk, and the HAProxy that does what it says.

A change is rendered, checked, written, and then told to the running HAProxy over its admin socket.
What only changes who takes which share of the traffic needs no check, and nothing but a model that
HAProxy has never heard of a reload. A run that is killed in between leaves files
that say what was wanted: `agree` tells it again.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.gateway.admin import Admin, Running
from mlops_pipelines.release.gateway.commands import added, changes, only_shares
from mlops_pipelines.release.gateway.ledger import Ledger
from mlops_pipelines.release.gateway.render import (
    AGAIN,
    Listening,
    backend_name,
    digest,
    render,
    render_again,
)
from mlops_pipelines.release.gateway.state import Entry, Route, State, read_state, write_state
from mlops_pipelines.release.targets.target import Traffic
from mlops_pipelines.store import write_atomically

CONFIGURATION = "haproxy.cfg"
RELOAD_SECONDS = 10.0
SAID_WHEN_DONE = (
    "New server registered",
    "Server deleted",
    "IP changed",
    "no need to change the addr, port changed",
)
LET_GO_SECONDS = 10.0
"""How long a server that leaves may still answer what it was given."""


class Runner(Protocol):
    """Who runs HAProxy, on the configuration in the gateway's folder."""

    @property
    def listening(self) -> Listening:
        """Where HAProxy listens."""
        ...

    def refusal(self, file: str) -> str | None:
        """What HAProxy says against the configuration `file` of the folder; None if nothing."""
        ...

    def ensure(self) -> str:
        """Let it run as its settings say; a sentence where something had to be done."""
        ...

    def reload(self) -> None:
        """Let it read its configuration again, without dropping a connection."""
        ...


class Gateway:
    """The HAProxy of `runner`, whose files lie in `folder`. Every method may raise TargetError."""

    def __init__(self, folder: Path, runner: Runner) -> None:
        self._folder = folder
        self._runner = runner
        self._admin = Admin(folder / "admin.sock")

    def route(self, model: str) -> Route:
        """What is wanted of the model."""
        return read_state(self._folder / "state.json").route(model)

    def models(self) -> tuple[str, ...]:
        """Every model that it has an address for."""
        return tuple(sorted(read_state(self._folder / "state.json").routes))

    def change(self, model: str, changed: Callable[[Route], Route]) -> Route:
        """Want something else of the model, and have it done; returns what is wanted now.

        A configuration that HAProxy refuses is not used, and nothing changes.
        """
        with self._alone():
            state = read_state(self._folder / "state.json")
            route = changed(state.route(model))
            after = state.with_route(route)
            self._write(after)
            if not self._said():
                self._runner.ensure()
            self._do(route)
            return route

    def agree(self, model: str) -> tuple[str, ...]:
        """Let HAProxy run, and do what is wanted of the model; a sentence for what was amiss."""
        with self._alone():
            state = read_state(self._folder / "state.json")
            self._write(state)
            started = self._runner.ensure()
            route = state.route(model)
            mended = self._do(route) if model in state.routes else 0
            done = [started] if started else []
            if mended and not started:
                done.append(f"the gateway did otherwise than was wanted: {mended} entries mended")
            return tuple(done)

    def running(self, model: str) -> dict[str, Running]:
        """The model's servers as HAProxy has them now, standby entries too; {} if it has none."""
        return self._admin.servers(backend_name(model)) or {}

    def errors_since(self, model: str) -> dict[str, int]:
        """Errors of each server, standby entries too, since `traffic` was asked last."""
        ledger = Ledger(self._folder / f"counted-{model}.json")
        return ledger.errors_since(self._admin.counts(backend_name(model)))

    def restore(self, model: str, names: Sequence[str]) -> None:
        """Give servers that failed, and that were found to answer, their traffic again."""
        backend = backend_name(model)
        self._admin.at_once(
            [
                f"set server {backend}/{name} state {state}"
                for name in names
                for state in ("maint", "ready")
            ]
        )

    def traffic(self, model: str) -> dict[int, Traffic]:
        """What was counted, by version, since its replicas are behind the gateway."""
        with self._alone():
            return self._ledger(self.route(model)).totals()

    def _ledger(self, route: Route) -> Ledger:
        ledger = Ledger(self._folder / f"counted-{route.model}.json")
        versions = {entry.name: entry.server.version for entry in route.entries()}
        ledger.note(versions, self._admin.counts(backend_name(route.model)))
        return ledger

    def _write(self, state: State) -> None:
        """Have the configuration of `state` lie in the folder; raises where HAProxy refuses it."""
        text = render(state, self._runner.listening)
        file = self._folder / CONFIGURATION
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / AGAIN, render_again(state).encode())
            before = file.read_text("utf-8") if file.exists() else ""
            if text != before:
                tried = self._folder / "tried.cfg"
                write_atomically(tried, text.encode())
                refused = None if only_shares(before, text) else self._runner.refusal(tried.name)
                if refused is not None:
                    raise TargetError(
                        f"HAProxy refuses the gateway's new configuration ({refused}); the "
                        f"running one stays, {tried} is the refused one"
                    )
            # State first: a configuration is written again from it, never the reverse.
            write_state(self._folder / "state.json", state)
            if text != before:
                tried.replace(file)
        except OSError as error:
            raise TargetError(
                f"the gateway's folder {self._folder} cannot be written: {error.strerror}"
            ) from error

    def _said(self) -> dict[str, str]:
        """What HAProxy says of itself; nothing where it does not run."""
        try:
            return self._admin.process()
        except TargetError:
            return {}

    def _do(self, route: Route) -> int:
        """Have HAProxy do what is wanted; how many of its entries were otherwise."""
        backend = backend_name(route.model)
        running = self._admin.servers(backend)
        if running is None or self._said().get("description") != digest(self._runner.listening):
            self._reload(backend)
            return 1
        wanted = {entry.name: entry for entry in route.entries()}
        gone = [name for name in running if name not in wanted]
        if gone:
            # Its numbers leave with a server.
            self._leave(route, gone)
        commands = [
            command
            for entry in wanted.values()
            for command in added(backend, entry, running.get(entry.name))
        ]
        self._told(commands)
        # What takes more traffic first, what leaves it last: somebody is always there.
        changed = [changes(backend, e, running.get(e.name)) for e in wanted.values()]
        steps = [step for steps in changed for step in steps]
        self._told([command for _, command in sorted(steps, key=lambda step: step[0])])
        self._second(route)
        self._rest(backend, wanted)
        return len(gone) + sum(map(bool, changed))

    def _second(self, route: Route) -> None:
        """Let what is tried again go where it should."""
        file = f"{self._runner.listening.folder}/{AGAIN}"
        now = self._admin.looked_up(file, route.model)
        if (now or "") == route.second:
            return
        gone = [f"del map {file} {route.model}"] if now is not None else []
        new = [f"add map {file} {route.model} {route.second}"] if route.second else []
        self._told(gone + new)

    def _told(self, commands: Sequence[str]) -> None:
        said = self._admin.at_once(commands).strip()
        complaints = [
            line
            for line in said.splitlines()
            if line.strip() and not line.startswith(SAID_WHEN_DONE)
        ]
        if complaints:
            raise TargetError(f"the gateway answers: {complaints[0]}")

    def _leave(self, route: Route, gone: Sequence[str]) -> None:
        """Let servers answer what they were given, then forget them."""
        backend = backend_name(route.model)
        self._told([f"set server {backend}/{name} state drain" for name in gone])
        deadline = time.monotonic() + LET_GO_SECONDS
        while time.monotonic() < deadline:
            counts = self._admin.counts(backend)
            if not any(counts[name].current for name in gone if name in counts):
                break
            time.sleep(0.02)
        self._ledger(route)
        self._told([f"set server {backend}/{name} state maint" for name in gone])
        while gone and time.monotonic() < deadline + LET_GO_SECONDS:
            said = self._admin.tell([f"del server {backend}/{name}" for name in gone])
            gone = [name for name, line in zip(gone, said, strict=True) if "still has" in line]
            time.sleep(0.05 if gone else 0)

    def _rest(self, backend: str, wanted: dict[str, Entry]) -> None:
        """Those that left the traffic and have answered everything are no longer looked at."""
        running, counts = self._admin.servers(backend) or {}, self._admin.counts(backend)
        idle = [
            name
            for name, now in running.items()
            if now.drain and not wanted[name].enabled and not counts[name].current
        ]
        self._told([f"set server {backend}/{name} state maint" for name in idle])

    def _reload(self, backend: str) -> None:
        # What failed must not take traffic again only because another model is new.
        kept = self._folder / "servers.state"
        try:
            write_atomically(kept, self._admin.tell(["show servers state"])[0].encode())
            before = self._admin.process().get("Pid")
            self._runner.reload()
            deadline = time.monotonic() + RELOAD_SECONDS
            while time.monotonic() < deadline:
                if self._other_process(before) and self._admin.servers(backend) is not None:
                    return
                time.sleep(0.02)
        finally:
            kept.unlink(missing_ok=True)
        raise TargetError("the gateway did not take up its new configuration; the old one stays")

    def _other_process(self, before: str | None) -> bool:
        return self._said().get("Pid") not in (None, before)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Releases of different models change the same files: one after the other."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise TargetError(
                f"the gateway's folder {self._folder} cannot be written: {error.strerror}"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
