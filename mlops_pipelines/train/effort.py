"""What a piece of work cost: wall-clock and CPU seconds, and the most memory it held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_SAMPLE_SECONDS = 0.05


@dataclass
class Effort:
    """Filled in when the work is done: seconds, CPU seconds of all threads, resident MiB."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0


@contextmanager
def measured() -> Iterator[Effort]:
    """Measure what happens inside; memory is this process's, looked at 20 times a second."""
    import psutil

    effort, process, done = Effort(), psutil.Process(), threading.Event()
    peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(_SAMPLE_SECONDS):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, name="peak-memory", daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield effort
    finally:
        effort.seconds = time.perf_counter() - wall
        effort.cpu_seconds = time.process_time() - cpu
        done.set()
        watcher.join()
        effort.peak_memory_mb = max(peak, process.memory_info().rss) / 2**20
