"""Whether a service is healthy, from its day's rows and its workers' own pages."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mlops_pipelines.monitor.health import health
from mlops_pipelines.release.targets.scrape import Sample, samples
from mlops_pipelines.release.targets.target import Service
from mlops_pipelines.serve.metrics import Metrics


def service(version: int | None = 3, wanted: int = 1) -> Service:
    return Service("churn", "http://127.0.0.1:8100", version, "", (), wanted)


def page(ok: int = 0, failed: int = 0, refused: int = 0, version: int = 3) -> tuple[Sample, ...]:
    """What a worker that answered so often would say of itself."""
    metrics = Metrics("churn", version, "digest")
    for status, count in ((200, ok), (500, failed), (400, refused)):
        for _ in range(count):
            metrics.request(status, 0.001)
    return samples(metrics.render(0, 0))


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
