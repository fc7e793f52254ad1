"""Puts what was written on the disk: here while the disk is quick, else in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable

QUICK_SECONDS = 0.002
QUICK_IN_A_ROW = 16

# macOS knows no fdatasync.
fdatasync = getattr(os, "fdatasync", os.fsync)

Done = Callable[[OSError | None], None]


class Disk:
    """Syncs files one after the other.

    Handing a sync to a thread and back costs more than a quick disk takes (measured: half of the
    throughput at 8 connections), but a slow one must not keep the event loop.
    """

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._in_thread = 0
        self._quick_in_a_row = 0

    def sync(self, fd: int, done: Done) -> None:
        """Sync `fd`, and tell `done` in the calling event loop."""
        if self._in_thread or self._quick_in_a_row < QUICK_IN_A_ROW:
            self._sync_in_thread(fd, done)
            return
        error, seconds = _synced(fd)
        self._seen(seconds)
        done(error)

    def close(self, fd: int, end: int, done: Done | None) -> None:
        """Sync a file in the thread, cut it off at `end` and close it; as `sync` tells `done`."""
        loop = asyncio.get_running_loop() if done is not None else None

        def work() -> None:
            error, _ = _synced(fd)
            with contextlib.suppress(OSError):
                # Zeros behind the rows are no rows, only room that is not needed any more.
                os.ftruncate(fd, end)
            os.close(fd)
            if done is not None and loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(done, error)

        self._ask_thread(work)

    def stop(self) -> None:
        """Wait until all that was asked for is done."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _sync_in_thread(self, fd: int, done: Done) -> None:
        loop = asyncio.get_running_loop()
        self._in_thread += 1

        def finish(error: OSError | None, seconds: float) -> None:
            self._in_thread -= 1
            self._seen(seconds)
            done(error)

        def work() -> None:
            outcome = _synced(fd)
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, *outcome)

        self._ask_thread(work)

    def _ask_thread(self, work: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="log", daemon=True)
            self._thread.start()
        self._asked.put(work)

    def _seen(self, seconds: float) -> None:
        self._quick_in_a_row = self._quick_in_a_row + 1 if seconds < QUICK_SECONDS else 0

    def _work(self) -> None:
        while (work := self._asked.get()) is not None:
            work()


def _synced(fd: int) -> tuple[OSError | None, float]:
    """What went wrong in syncing `fd`, and how long it took."""
    started = time.perf_counter()
    error = None
    try:
        fdatasync(fd)
    except OSError as exc:
        error = exc
    return error, time.perf_counter() - started
