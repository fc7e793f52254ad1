"""The parts of the benchmark; each takes the model and gives its figures."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Row, at_most, number, percentile, say
from benchmarks.environments import PeerError
from benchmarks.serving import contestants as c
from benchmarks.serving import figures
from benchmarks.serving.bad_requests import send_all
from benchmarks.serving.kills import kill_often
from benchmarks.serving.model import MANY, NAME, Model
from benchmarks.serving.nonsense.source import Source
from benchmarks.serving.openloop import measure
from benchmarks.serving.rounds import Plan, body_file, interleaved
from benchmarks.serving.servers import Server, end, free_port, post, running
from benchmarks.serving.wrk import LoadError, full_load, said, wrk_command

SHARES = (0.5, 0.99, 0.999)
FLOOR = "the load generator alone, answered by a trivial server, p99"


@dataclass(frozen=True)
class Sizes:
    """How much is done of everything; seconds where nothing else is said."""

    plan: Plan
    latency: float
    kills: int
    bad: int
    soak_warm: float
    soak: float


FULL = Sizes(Plan(3, 2, 6), 10, 50, 20_000, 30, 300)
QUICK = Sizes(Plan(1, 1, 2), 2, 5, 2_000, 10, 30)


@dataclass
class Run:
    """One run: the model, its sizes, a folder to write in, our throughput once it is known."""

    model: Model
    sizes: Sizes
    scratch: Path
    rate: float | None = None


def throughput(run: Run) -> list[Row]:
    """One row: requests a second, start and memory."""
    measured = interleaved(c.ALL, run.model, run.scratch, run.sizes.plan)
    run.rate = measured[c.OURS.name].rate
    return [*figures.throughput(measured), *figures.footprint(measured)]


def batches(run: Run) -> list[Row]:
    """Many rows in a request."""
    servers = (
        c.OURS_NAMED,
        c.OURS,
        c.OURS_BINARY,
        c.OURS_NO_FSYNC,
        c.OURS_SKLEARN,
        c.MLFLOW,
        c.BARE,
    )
    measured = interleaved(servers, run.model, run.scratch, run.sizes.plan, MANY)
    return figures.batches(measured, MANY)


def latency(run: Run) -> list[Row]:
    """Percentiles of an open-loop load."""
    rate = (run.rate or _own_rate(run)) / 2
    taken: dict[str, list[dict[float, float]]] = {}
    failures: dict[str, str] = {}
    requests = 0
    for turn in range(run.sizes.plan.rounds):
        for server in (c.OURS, c.OURS_NO_FSYNC, c.BARE, None):
            name = FLOOR if server is None else server.name
            if name in failures:
                continue
            try:
                with _trivial() if server is None else _address(server, run) as (port, path):
                    found, count = _sampled(run, port, path, rate)
            except (LoadError, PeerError) as error:
                if server is c.OURS:
                    raise
                failures[name] = str(error)
                say(f"round {turn + 1}, {name}: {error}")
                continue
            taken.setdefault(name, []).append(found)
            requests += count if server is c.OURS else 0
            shown = ", ".join(f"p{100 * share:g} {ms:.2f} ms" for share, ms in found.items())
            say(f"round {turn + 1}, {name}, {rate:,.0f} requests/s: {shown}")

    def middle(name: str, share: float) -> float:
        return percentile([found[share] for found in taken[name]], 0.5)

    ours = {share: middle(c.OURS.name, share) for share in SHARES}
    beside: dict[str, float | str] = {
        (name if name == FLOOR else f"{name}, p99"): failures.get(name) or middle(name, 0.99)
        for name in (c.OURS_NO_FSYNC.name, c.BARE.name, FLOOR)
    }
    return figures.latency(rate, ours, beside, requests)


def kills(run: Run) -> list[Row]:
    """SIGKILL under load."""
    found = kill_often(run.model, run.scratch / "kills", run.sizes.kills)
    note = f"{found.rows:,} rows acknowledged with 200, {found.refused} requests refused"
    return [
        Row(
            f"acknowledged rows lost over {found.kills} SIGKILLs under load",
            found.lost,
            "rows",
            at_most(0),
            note="; ".join([note, *found.examples[:3]]),
        )
    ]


def bad_requests(run: Run) -> list[Row]:
    """Generated nonsense."""
    model = run.model
    with running(c.OURS, model, run.scratch / "bad") as server:
        source = Source(NAME, model.columns, model.rows, seed=0)
        found = send_all(server.port, source, run.sizes.bad)
        try:
            status, _ = post(server.port, c.OURS.path, model.body("array"))
        except OSError:
            status = 0
    after = "a good row is answered afterwards"
    failed = found.failed
    if status != 200:
        after, failed = (
            f"a good row is not answered afterwards ({status or 'no answer'})",
            failed + 1,
        )
    told = ", ".join(f"{status}: {n:,}" for status, n in sorted(found.statuses.items()))
    note = f"{told}; closed without an answer: {found.closed:,}; never answered: {found.silent}"
    failures = sorted(set(found.failures))[:5]
    name = f"5xx or no answer over {run.sizes.bad:,} generated bad requests"
    return [Row(name, failed, "", at_most(0), note="; ".join([note, after, *failures]))]


def soak(run: Run) -> list[Row]:
    """Memory under minutes of full load."""
    body = body_file(run.model, run.scratch, c.OURS.form, 1)
    sizes = run.sizes
    with running(c.OURS, run.model, run.scratch / "soak") as server:
        full_load(server.url, body, sizes.soak_warm)
        warm = highest = server.memory()
        wrk = subprocess.Popen(
            wrk_command(server.url, body, sizes.soak),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            began = told = time.monotonic()
            while wrk.poll() is None:
                time.sleep(1)
                highest = max(highest, server.memory())
                if time.monotonic() - told >= 15:
                    told = time.monotonic()
                    say(f"  {told - began:.0f} s: {server.memory():.1f} MB, {warm:.1f} at first")
            output, errors = wrk.communicate()
        finally:
            if wrk.poll() is None:
                wrk.kill()
                wrk.wait()
        load = said(wrk.returncode, output, errors)
    note = (
        f"{warm:.1f} MB after {sizes.soak_warm:g} s of warm-up, at most {highest:.1f} MB later, "
        f"{load.requests:,} requests, {number(load.rate)}/s"
    )
    growth = 100 * (highest / warm - 1)
    name = f"growth of memory over {sizes.soak:g} s of full load"
    return [Row(name, growth, "%", at_most(5), note=note)]


PARTS: dict[str, Callable[[Run], list[Row]]] = {
    "throughput": throughput,
    "latency": latency,
    "batches": batches,
    "kills": kills,
    "bad-requests": bad_requests,
    "soak": soak,
}


def run_part(name: str, run: Run) -> list[Row]:
    """The figures of a part; one that our own server could not go through is a missed goal."""
    say(f"\n{name}: {(PARTS[name].__doc__ or '').strip()}")
    try:
        return PARTS[name](run)
    except (LoadError, PeerError) as error:
        say(f"{name}: {error}")
        return [Row(name, None, "", at_most(0), note=str(error))]
    finally:
        for folder in ("server", "kills", "bad", "soak", "latency"):
            shutil.rmtree(run.scratch / folder, ignore_errors=True)


def _own_rate(run: Run) -> float:
    measured = interleaved([c.OURS], run.model, run.scratch, run.sizes.plan)[c.OURS.name]
    if measured.rate is None:
        raise PeerError(measured.failure)
    return measured.rate


def _sampled(run: Run, port: int, path: str, rate: float) -> tuple[dict[float, float], int]:
    """Milliseconds by share of the samples, and how many; after a second of warm-up."""
    body = body_file(run.model, run.scratch, "array", 1)
    out = run.scratch / "samples"
    measure(port, path, body, rate, 1, out)
    samples = measure(port, path, body, rate, run.sizes.latency, out)
    return {share: 1000 * percentile(samples, share) for share in SHARES}, len(samples)


@contextmanager
def _address(server: Server, run: Run) -> Iterator[tuple[int, str]]:
    with running(server, run.model, run.scratch / "latency") as started:
        yield started.port, server.path


@contextmanager
def _trivial() -> Iterator[tuple[int, str]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.serving.trivial", str(port)])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                post(port, "/", b"{}")
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LoadError(f"the trivial server does not answer: {error}") from error
                time.sleep(0.02)
        yield port, "/"
    finally:
        end(process)
