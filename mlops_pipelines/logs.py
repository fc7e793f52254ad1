"""Structured log lines: which step of which model took how long over how many rows.

They go to the logger given (Dagster's, so to its event log) and, with MLOPS_LOG=json, as one JSON
object a line to standard error. No row's values are ever logged. Whoever waits may watch which
step is at work, and how far it is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging import Logger
from typing import Any

Watcher = Callable[[str, float | None], None]
"""Is told the step at work, and the share of it that is done (None: unknown)."""

_watchers: list[Watcher] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of every step that this process begins inside the block."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def progress(name: str, share: float | None = None) -> None:
    """Tell who watches that `name` is at work; `share` is 0 to 1."""
    for watcher in tuple(_watchers):
        watcher(name, share)


@contextmanager
def step(logger: Logger, name: str, **fields: Any) -> Iterator[dict[str, Any]]:
    """Log `name` with `fields`, its seconds, and what the body adds to the yielded dict.

    A failure is logged too, with what was being processed, and raised on.
    """
    counted: dict[str, Any] = {}
    started = time.monotonic()
    progress(name)
    try:
        yield counted
    except Exception as error:
        line = {"step": name, **fields, **counted, "seconds": _since(started)}
        failure = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        logger.error("%s failed: %s", _sentence(line), failure)
        to_stderr("error", {**line, "error": failure})
        raise
    line = {"step": name, **fields, **counted, "seconds": _since(started)}
    logger.info(_sentence(line))
    to_stderr("info", line)


def to_stderr(level: str, fields: dict[str, Any]) -> None:
    """One JSON line on standard error, where MLOPS_LOG=json asks for it."""
    if os.environ.get("MLOPS_LOG") != "json":
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"time": now, "level": level, **fields}, default=str) + "\n")


def _sentence(line: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in line.items() if name != "run")


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
