"""One release of a model at a time: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mlops_pipelines.errors import BusyError, TargetError

_mine = threading.local()
"""The lock files that this thread holds, so that a step within a release needs no second lock."""


@contextmanager
def held(path: Path, model: str, who: str) -> Iterator[None]:
    """Hold the lock file `path` in the name of `who`; a thread that holds it may ask again.

    The kernel releases it when its holder dies. Raises BusyError naming who holds it since when,
    TargetError where the file cannot be written.
    """
    files: set[Path] = _mine.__dict__.setdefault("files", set())
    if path in files:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise TargetError(
            f"{model}: {path} cannot be written: {error.strerror}; nothing moved; make the folder "
            "writable"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"{model}: {_holder(descriptor)}; nothing was changed; try again when it has ended"
            ) from error
        since = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(descriptor, 0)
        os.pwrite(
            descriptor, json.dumps({"who": who, "pid": os.getpid(), "since": since}).encode(), 0
        )
        files.add(path)
        try:
            yield
        finally:
            files.discard(path)
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    # Between taking the lock and writing its name, the holder is unknown for a moment.
    for _ in range(20):
        try:
            said = json.loads(os.pread(descriptor, 4096, 0))
            return f"{said['who']} (pid {said['pid']}) holds the release lock since {said['since']}"
        except (ValueError, KeyError):
            time.sleep(0.05)
    return "another release has just taken the release lock"
