"""Whether a service is healthy, from its day's rows and its workers' own pages."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mlops_pipelines.monitor.health import health
from mlops_pipelines.release.targets.scrape import Sample, samples
from mlops_pipelines.release.targets.target import Service, Usage
from mlops_pipelines.serve.metrics import Metrics


def service(version: int | None = 3, wanted: int = 1) -> Service:
    return Service("churn", "http://127.0.0.1:8100", version, "", (), wanted)


def page(ok: int = 0, failed: int = 0, refused: int = 0, version: int = 3) -> tuple[Sample, ...]:
    """What a worker that answered so often would say of itself."""
    metrics = Metrics("churn", version, "digest")
    for status, count in ((200, ok), (500, failed), (400, refused)):
        for _ in range(count):
            metrics.request(status, 0.001)
    return samples(metrics.render(0, 0, 0))


def rows(latencies: list[float], version: int = 3, per_request: int = 1) -> pd.DataFrame:
    found = pd.DataFrame(
        {
            "request_id": [f"r{i}" for i in range(len(latencies))],
            "model_version": version,
            "latency_ms": latencies,
        }
    )
    return pd.concat([found] * per_request, ignore_index=True)


def test_a_healthy_day(make_spec: Any) -> None:
    pages = {11: page(60, refused=3), 12: page(40)}
    found = health(
        make_spec(), rows([float(i) for i in range(101)], per_request=2), service(wanted=2), pages
    )
    assert (found.status, found.rows, found.requests) == ("ok", 202, 101)
    assert (found.p50, found.p95, found.p99) == (50, 95, 99)
    assert (found.asked, found.errors, found.error_rate) == (103, 0, 0.0)
    assert (found.replicas, found.wanted) == (2, 2)
    assert found.cpu_seconds > 0
    assert found.memory_mb > 10
    assert found.sentence == (
        "101 requests, 99th percentile 99 ms, 0 failed; 2 of 2 workers answer"
    )
    assert found.metrics()["latency_p99_ms"] == 99


CASES: dict[str, tuple[pd.DataFrame, Service | None, Any, str, str]] = {
    "nobody asked": (
        rows([]),
        service(),
        {1: page()},
        "insufficient_data",
        "nobody asked; 1 of 1 workers answer",
    ),
    "nothing is served": (
        rows([]),
        None,
        {},
        "insufficient_data",
        "nobody asked; 0 of 0 workers answer",
    ),
    "no worker answers": (rows([1.0]), service(None), {}, "alarm", "none of 1 workers answers"),
    "errors": (
        rows([1.0] * 90),
        service(),
        {1: page(90, failed=10)},
        "alarm",
        "10 of 100 requests failed; 1.00% may",
    ),
    "one error among a few": (
        rows([1.0] * 9),
        service(),
        {1: page(9, failed=1)},
        "ok",
        "9 requests, 99th percentile 1 ms, 1 failed; 1 of 1 workers answer",
    ),
    "refused requests are the callers'": (
        rows([1.0] * 9),
        service(),
        {1: page(9, refused=90)},
        "ok",
        "9 requests, 99th percentile 1 ms, 0 failed; 1 of 1 workers answer",
    ),
    "every request is refused": (
        rows([]),
        service(),
        {1: page(refused=10)},
        "alarm",
        "all of 10 requests were refused: callers do not send what it takes",
    ),
    "a few requests, all refused": (
        rows([]),
        service(),
        {1: page(refused=9)},
        "insufficient_data",
        "no row was answered, 9 requests were refused, 0 failed; 1 of 1 workers answer",
    ),
    "slow": (
        rows([1.0] * 80 + [5000.0] * 20),
        service(),
        {1: page(100)},
        "alarm",
        "20 of 100 requests took over 1000 ms (99th percentile 5000 ms)",
    ),
    "slow at its start": (
        rows([1.0] * 30 + [5000.0]),
        service(),
        {1: page(31)},
        "ok",
        "31 requests, 99th percentile 3500 ms, 0 failed; 1 of 1 workers answer",
    ),
    "the old version was slow": (
        pd.concat([rows([5000.0] * 50, version=2), rows([2.0])]),
        service(),
        {1: page(50, failed=50, version=2), 2: page(1)},
        "ok",
        "1 requests, 99th percentile 2 ms, 0 failed; 1 of 1 workers answer",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_healthy(make_spec: Any, case: str) -> None:
    day, running, pages, status, sentence = CASES[case]
    found = health(make_spec(), day, running, pages)
    assert (found.status, found.sentence) == (status, sentence)
    assert all(isinstance(value, float) for value in found.metrics().values())


MB = 2**20
SERVING = Usage("a", 3, 10.25, 100 * MB, 512 * MB, 2 * MB, 3 * MB, MB // 2, 4 * MB)
BESIDE = Usage("b", 3, 2.0, 50 * MB, 512 * MB, MB, MB, 0, 0)
STANDBY = Usage("s", 2, 99.0, 900 * MB, 1024 * MB, 7 * MB, 7 * MB, 7 * MB, 7 * MB)


def test_what_is_used_is_that_of_the_version_that_serves(make_spec: Any) -> None:
    pages = {"a": page(60), "b": page(40), "s": page(500, failed=90, version=2)}
    usage = (STANDBY, SERVING, BESIDE)
    found = health(make_spec(), rows([1.0] * 100), service(wanted=2), pages, usage)
    assert found.status == "ok"
    assert found.usage == usage
    measured = found.metrics()
    assert {name: measured[name] for name in ("cpu_seconds", "memory_mb")} == {
        "cpu_seconds": 12.25,
        "memory_mb": 150.0,
    }
    assert (measured["network_mb"], measured["disk_mb"]) == (7.0, 4.5)


def test_the_table_shows_every_replica_by_version(make_spec: Any) -> None:
    pages = {"a": page(60, failed=1), "new": page(0, version=4)}
    found = health(
        make_spec(), rows([1.0] * 60), service(wanted=2), pages, (SERVING, BESIDE, STANDBY)
    )
    lines = found.table.splitlines()
    assert [len(line.split("|")) for line in lines] == [14] * 6
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][:4] == ["version", "replica", "requests", "failed"]
    assert cells[2:] == [
        ["2", "s", "–", "–", "–", "99", "900", "1024", "7", "7", "7", "7"],
        ["3", "a", "61", "1", "1", "10", "100", "512", "2", "3", "0.5", "4"],
        ["3", "b", "–", "–", "–", "2", "50", "512", "1", "1", "0", "0"],
        ["4", "new", "0", "0", "–", "–", "–", "–", "–", "–", "–", "–"],
    ]


def test_a_target_that_counts_no_network_says_so(make_spec: Any) -> None:
    process = Usage("11", 3, 1.0, 80 * MB)
    found = health(make_spec(), rows([1.0]), service(), {"11": page(1)}, (process,))
    assert not {"network_mb", "disk_mb"} & found.metrics().keys()
    assert found.table.splitlines()[2].endswith("| 1 | 80 | – | – | – | – | – |")


def test_nothing_runs_and_nothing_is_used(make_spec: Any) -> None:
    found = health(make_spec(), rows([]), None, {}, ())
    assert (found.table, found.usage, found.memory_mb) == ("", (), 0.0)
