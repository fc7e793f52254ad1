"""What one worker counts, in Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import os
import resource
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 256, 1024, 10_000)


class Metrics:
    """Counts of one worker's life; `requests`, `rows` and the times are those of predictions."""

    def __init__(self, model: str, version: int, bundle: str) -> None:
        self._labels = {"model": model, "version": str(version)}
        self._bundle = bundle
        self.requests: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.rows = 0
        self.labels = 0
        self.in_flight = 0
        self._seconds = 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._batch_rows = 0
        self._batches = [0] * (len(BATCH_BUCKETS) + 1)

    def request(self, status: int, seconds: float) -> None:
        """Count one request that was answered with this status after so many seconds."""
        self.requests[status] += 1
        self._seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1

    def batch(self, rows: int) -> None:
        """Count one call for so many rows."""
        self._batch_rows += rows
        self._batches[bisect_left(BATCH_BUCKETS, rows)] += 1

    def render(self, log_bytes: int, log_syncs: int, waiting: int) -> str:
        """All of it as a page for Prometheus."""
        return "\n".join(self._lines(log_bytes, log_syncs, waiting)) + "\n"

    def _lines(self, log_bytes: int, log_syncs: int, waiting: int) -> Iterator[str]:
        own = self._labels
        yield from _head(
            "mlops_requests_total", "counter", "Requests for predictions, in any protocol."
        )
        for status, count in sorted(self.requests.items()):
            yield _sample("mlops_requests_total", own | {"status": str(status)}, count)
        yield from _head("mlops_errors_total", "counter", "Requests that were refused or failed.")
        for kind, count in sorted(self.errors.items()):
            yield _sample("mlops_errors_total", own | {"kind": kind}, count)
        for name, kind, text, value in (
            ("mlops_rows_total", "counter", "Rows answered.", self.rows),
            ("mlops_labels_total", "counter", "Labels accepted.", self.labels),
            ("mlops_log_bytes_total", "counter", "Bytes written to the log.", log_bytes),
            (
                "mlops_log_syncs_total",
                "counter",
                "Syncs of the log, each for many rows.",
                log_syncs,
            ),
            ("mlops_inflight", "gauge", "Requests being answered.", self.in_flight),
            ("mlops_queue", "gauge", "Requests that wait for the model.", waiting),
        ):
            yield from _head(name, kind, text)
            yield _sample(name, own, value)
        text = "Seconds from a request's arrival to its answer."
        yield from self._histogram(
            "mlops_request_seconds", text, BUCKETS, self._buckets, self._seconds
        )
        text = "Rows that were answered by one call of the model."
        yield from self._histogram(
            "mlops_batch_rows", text, BATCH_BUCKETS, self._batches, self._batch_rows
        )
        yield from _head("mlops_model_info", "gauge", "What is served.")
        yield _sample("mlops_model_info", own | {"bundle": self._bundle}, 1)
        yield from _head("process_cpu_seconds_total", "counter", "CPU seconds used.")
        yield _sample("process_cpu_seconds_total", {}, time.process_time())
        yield from _head("process_resident_memory_bytes", "gauge", "Resident memory.")
        yield _sample("process_resident_memory_bytes", {}, _resident_bytes())

    def _histogram(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        buckets: Sequence[int],
        total: float,
    ) -> Iterator[str]:
        yield from _head(name, "histogram", text)
        counts = list(accumulate(buckets))
        for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
            yield _sample(f"{name}_bucket", self._labels | {"le": bound}, count)
        yield _sample(f"{name}_sum", self._labels, total)
        yield _sample(f"{name}_count", self._labels, counts[-1])


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        # Without /proc only the peak is known: in bytes on macOS, in KiB elsewhere.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
