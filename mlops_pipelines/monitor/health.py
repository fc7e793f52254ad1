"""Whether the service answers, fast and soundly: from the day's log and its workers' counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.release.targets.scrape import Sample
    from mlops_pipelines.release.targets.target import Service

Status = Literal["ok", "alarm", "insufficient_data"]

_SURE = 0.01
"""An alarm may roll back, so a single slow or failed request among a few must not raise it."""

_REFUSED = 10
"""Requests that must have been refused, and none answered, before that is the version's fault."""

_SLOW_SHARE = 0.01  # what a 99th percentile allows


@dataclass(frozen=True)
class Health:
    """How the service did.

    `rows`, `requests` and latencies (ms per request; None where nobody asked) are of the day;
    `errors` (answers of 500 and above), `refused` (400 and above), `asked`, `cpu_seconds` and
    `memory_mb` (resident) are the workers' own counts since they started. `replicas` answered just
    now, `wanted` should have.
    """

    status: Status
    rows: int
    requests: int
    p50: float | None
    p95: float | None
    p99: float | None
    asked: int
    errors: int
    refused: int
    cpu_seconds: float
    memory_mb: float
    replicas: int
    wanted: int
    sentence: str

    @property
    def error_rate(self) -> float:
        """Share of the workers' requests that failed; 0 where nobody asked."""
        return self.errors / self.asked if self.asked else 0.0

    def metrics(self) -> dict[str, float]:
        """What is logged of the night, to be plotted over days."""
        found = {
            "rows": float(self.rows),
            "requests": float(self.requests),
            "errors": float(self.errors),
            "error_rate": self.error_rate,
            "refused": float(self.refused),
            "cpu_seconds": self.cpu_seconds,
            "memory_mb": self.memory_mb,
            "replicas": float(self.replicas),
        }
        latencies = (("p50", self.p50), ("p95", self.p95), ("p99", self.p99))
        return found | {f"latency_{name}_ms": ms for name, ms in latencies if ms is not None}


def health(
    spec: ModelSpec,
    rows: pd.DataFrame,
    service: Service | None,
    samples: Mapping[str, Sequence[Sample]],
) -> Health:
    """Judge the version that serves now by a day's rows and by its workers' counts, by process id.

    `alarm` when workers are wanted and none answers, or when the share of failed requests lies
    above spec.monitor.error_rate, or that of requests slower than spec.monitor.latency_ms above
    1 %, by more than chance explains (binomial test, 1 %), or when it refused all of ten requests
    or more. `insufficient_data` when nobody asked.
    """
    if service is not None and service.version is not None:
        rows = rows[rows["model_version"] == service.version]
        version = str(service.version)
        samples = {pid: page for pid, page in samples.items() if _serves(page, version)}
    latencies = rows.drop_duplicates("request_id")["latency_ms"]
    counted = [sample for page in samples.values() for sample in page]
    answers = [sample for sample in counted if sample.name == "mlops_requests_total"]
    by_status = {
        first: int(sum(s.value for s in answers if s.labels.get("status", "").startswith(first)))
        for first in "245"
    }
    asked, errors, refused = sum(by_status.values()), by_status["5"], by_status["4"]
    wanted = service.wanted if service is not None else 0
    slow = int((latencies > spec.monitor.latency_ms).sum())
    p50, p95, p99 = (
        float(latencies.quantile(q)) if len(latencies) else None for q in (0.5, 0.95, 0.99)
    )

    faults = []
    if wanted and not samples:
        faults.append(f"none of {wanted} workers answers")
    if _too_many(errors, asked, spec.monitor.error_rate):
        faults.append(f"{errors} of {asked} requests failed; {spec.monitor.error_rate:.2%} may")
    # Who refuses some requests may have bad callers; who answers none is no service.
    if refused >= _REFUSED and not by_status["2"] and not len(rows):
        faults.append(f"all of {refused} requests were refused: callers do not send what it takes")
    if _too_many(slow, len(latencies), _SLOW_SHARE):
        faults.append(
            f"{slow} of {len(latencies)} requests took over {spec.monitor.latency_ms:g} ms "
            f"(99th percentile {p99:.4g} ms)"
        )
    status: Status = "alarm" if faults else "ok" if len(rows) else "insufficient_data"
    if len(rows):
        usual = f"{len(latencies)} requests, 99th percentile {p99:.4g} ms, {errors} failed"
    elif asked:
        usual = f"no row was answered, {refused} requests were refused, {errors} failed"
    else:
        usual = "nobody asked"
    return Health(
        status=status,
        rows=len(rows),
        requests=len(latencies),
        p50=p50,
        p95=p95,
        p99=p99,
        asked=asked,
        errors=errors,
        refused=refused,
        cpu_seconds=_sum(counted, "process_cpu_seconds_total"),
        memory_mb=_sum(counted, "process_resident_memory_bytes") / 2**20,
        replicas=len(samples),
        wanted=wanted,
        sentence="; ".join(faults) or f"{usual}; {len(samples)} of {wanted} workers answer",
    )


def _serves(page: Sequence[Sample], version: str) -> bool:
    return any(s.name == "mlops_model_info" and s.labels.get("version") == version for s in page)


def _sum(counted: Sequence[Sample], name: str) -> float:
    return float(sum(sample.value for sample in counted if sample.name == name))


def _too_many(seen: int, of: int, share: float) -> bool:
    """Whether `seen` of `of` is more than chance makes of `share`."""
    if not seen:
        return False
    from scipy.stats import binom

    return bool(binom.sf(seen - 1, of, share) < _SURE)
