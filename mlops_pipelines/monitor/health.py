"""Whether the service answers, fast and soundly, and what its replicas use.

From the day's log, from the workers' own counts, and from what the target knows of each replica.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.release.targets.scrape import Sample
    from mlops_pipelines.release.targets.target import Service, Usage

Status = Literal["ok", "alarm", "insufficient_data"]

COLUMNS = ("model_version", "request_id", "latency_ms")
"""Of a day's rows, what is looked at."""

_SURE = 0.01
"""An alarm may roll back, so a single slow or failed request among a few must not raise it."""

_REFUSED = 10
"""Requests that must have been refused, and none answered, before that is the version's fault."""

_SLOW_SHARE = 0.01  # what a 99th percentile allows

MB = 2**20


@dataclass(frozen=True)
class Health:
    """How the service did.

    `rows`, `requests` and latencies (ms per request; None where nobody asked) are of the day;
    `errors` (answers of 500 and above), `refused` (400 and above) and `asked` are the workers' own
    counts since they started. `replicas` answered just now, `wanted` should have. `usage` is of
    every replica, other versions' too; `cpu_seconds` and `memory_mb` are the sums over those of the
    version that was judged, `network_mb` and `disk_mb` what went both ways (None: the target cannot
    tell). MB are 2^20 bytes. `table` shows each replica, as Markdown.
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
    usage: tuple[Usage, ...] = ()
    network_mb: float | None = None
    disk_mb: float | None = None
    table: str = ""

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
        where_known = {
            "latency_p50_ms": self.p50,
            "latency_p95_ms": self.p95,
            "latency_p99_ms": self.p99,
            "network_mb": self.network_mb,
            "disk_mb": self.disk_mb,
        }
        return found | {name: value for name, value in where_known.items() if value is not None}


def health(
    spec: ModelSpec,
    rows: pd.DataFrame,
    service: Service | None,
    samples: Mapping[str, Sequence[Sample]],
    usage: Sequence[Usage] = (),
) -> Health:
    """Judge the version that serves now by a day's rows and by its workers' counts, by replica.

    What replicas use is shown and judges nothing; where `usage` is empty, their own counts tell.
    `alarm` when workers are wanted and none answers, or when the share of failed requests lies
    above spec.monitor.error_rate, or that of requests slower than spec.monitor.latency_ms above
    1 %, by more than chance explains (binomial test, 1 %), or when it refused all of ten requests
    or more. `insufficient_data` when nobody asked.
    """
    table = usage_table(samples, usage)
    judged = tuple(usage)
    if service is not None and service.version is not None:
        judged = tuple(each for each in usage if each.version == service.version)
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
        cpu_seconds=sum(each.cpu_seconds for each in judged)
        or _sum(counted, "process_cpu_seconds_total"),
        memory_mb=(
            sum(each.memory_bytes for each in judged)
            or _sum(counted, "process_resident_memory_bytes")
        )
        / MB,
        replicas=len(samples),
        wanted=wanted,
        sentence="; ".join(faults) or f"{usual}; {len(samples)} of {wanted} workers answer",
        usage=tuple(usage),
        network_mb=_megabytes(
            *(each.network_received_bytes for each in judged),
            *(each.network_sent_bytes for each in judged),
        ),
        disk_mb=_megabytes(
            *(each.disk_read_bytes for each in judged),
            *(each.disk_written_bytes for each in judged),
        ),
        table=table,
    )


def usage_table(samples: Mapping[str, Sequence[Sample]], usage: Sequence[Usage]) -> str:
    """What every replica did and used since it started, version by version, as Markdown.

    Both are by the replica's name; a dash stands for what is not known. Empty without a replica.
    """
    used = {each.replica: each for each in usage}
    pages = {str(name): page for name, page in samples.items()}
    rows = sorted(
        (_version_of(used.get(name), pages.get(name, ())), name) for name in {*used, *pages}
    )
    if not rows:
        return ""
    head = (
        "version | replica | requests | failed | mean ms | CPU s | memory MB | limit MB | "
        "received MB | sent MB | read MB | written MB"
    )
    rule = " | ".join(["---:", "---", *["---:"] * 10])
    body = [_usage_row(v, name, used.get(name), pages.get(name)) for v, name in rows]
    return "\n".join(f"| {line} |" for line in (head, rule, *body))


def _usage_row(version: int, name: str, used: Usage | None, page: Sequence[Sample] | None) -> str:
    cells: list[float | None] = [None] * 3
    if page is not None:
        answers = _sum(page, "mlops_request_seconds_count")
        seconds = _sum(page, "mlops_request_seconds_sum")
        failed = sum(
            sample.value
            for sample in page
            if sample.name == "mlops_requests_total"
            and sample.labels.get("status", "").startswith("5")
        )
        cells = [_sum(page, "mlops_requests_total"), failed]
        cells.append(1000 * seconds / answers if answers else None)
    if used is None:
        cells += [None] * 7
    else:
        sizes = (
            used.memory_bytes,
            used.memory_limit_bytes,
            used.network_received_bytes,
            used.network_sent_bytes,
            used.disk_read_bytes,
            used.disk_written_bytes,
        )
        cells += [used.cpu_seconds, *(_megabytes(size) for size in sizes)]
    shown = [version or "–", name, *("–" if cell is None else _short(cell) for cell in cells)]
    return " | ".join(map(str, shown))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def _version_of(used: Usage | None, page: Sequence[Sample]) -> int:
    """The version of a replica; 0 where neither the target nor its page says it."""
    if used is not None:
        return used.version
    said = (s.labels.get("version", "") for s in page if s.name == "mlops_model_info")
    return next((int(version) for version in said if version.isdigit()), 0)


def _megabytes(*sizes: int | None) -> float | None:
    """The sum of what is known, in MB; None where nothing is."""
    known = [size for size in sizes if size is not None]
    return sum(known) / MB if known else None


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
