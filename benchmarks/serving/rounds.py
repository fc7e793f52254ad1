"""Full load on one server after the other, round by round: all share its moods."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common import number, percentile, say
from benchmarks.environments import PeerError
from benchmarks.serving.model import Model
from benchmarks.serving.servers import Server, running
from benchmarks.serving.wrk import LoadError, full_load


@dataclass
class Measured:
    """A server's rounds; or why it has none, which is said instead of a figure."""

    rates: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    memories: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def rate(self) -> float | None:
        """Requests a second, the median of the rounds."""
        return self._median(self.rates)

    @property
    def ready_seconds(self) -> float | None:
        """From the start of the process to its first right answer, the median."""
        return self._median(self.ready)

    @property
    def memory(self) -> float | None:
        """Resident after the load, all its processes, in MB, the median."""
        return self._median(self.memories)

    def _median(self, values: list[float]) -> float | None:
        return None if self.failure or not values else percentile(values, 0.5)


@dataclass(frozen=True)
class Plan:
    """How many rounds, and how long each warms up and lasts, in seconds."""

    rounds: int
    warm: float
    seconds: float


def interleaved(
    servers: Sequence[Server], model: Model, scratch: Path, plan: Plan, rows: int = 1
) -> dict[str, Measured]:
    """By name. A round starts, warms up, loads and ends each server; never two at once."""
    measured = {server.name: Measured() for server in servers}
    step = 0
    for turn in range(plan.rounds):
        for server in servers:
            step += 1
            of = f"[{step}/{plan.rounds * len(servers)}] round {turn + 1}, {server.name}"
            found = measured[server.name]
            if not found.failure:
                _round(server, model, scratch, plan, rows, found)
            if found.failure:
                say(f"{of}: {found.failure}")
            else:
                said = f"{number(found.rates[-1] * rows)} {'rows' if rows > 1 else 'requests'}/s"
                ready = f"ready after {found.ready[-1]:.2f} s"
                say(f"{of}: {said}, {ready}, {found.memories[-1]:.0f} MB")
    return measured


def body_file(model: Model, scratch: Path, form: str, rows: int) -> Path:
    """The request as a file, for load generators."""
    path = scratch / f"{form}-{rows}.json"
    if not path.exists():
        path.write_bytes(model.body(form, rows))
    return path


def _round(
    server: Server, model: Model, scratch: Path, plan: Plan, rows: int, found: Measured
) -> None:
    folder = scratch / "server"
    body = body_file(model, scratch, server.form, rows)
    try:
        with running(server, model, folder) as started:
            header = model.header(server.form, rows)
            full_load(started.url, body, plan.warm, *header)
            load = full_load(started.url, body, plan.seconds, *header)
            found.memories.append(started.memory())
    except (LoadError, PeerError) as error:
        found.failure = str(error)
    else:
        found.rates.append(load.rate)
        found.ready.append(started.ready_seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
