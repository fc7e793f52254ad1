"""The prediction log as a worker writes it: nothing is answered that is not in it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

ROTATE_BYTES = 64 * 1024 * 1024
QUICK_SECONDS = 0.002
QUICK_IN_A_ROW = 16

# macOS knows no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)


class LogError(Exception):
    """The prediction log cannot be written."""


Done = Callable[[LogError | None], None]


class SegmentWriter:
    """Appends lines to `<stem>-<unix ms>-<pid>.<random>.ndjson`, beginning anew at `rotate_bytes`.

    A segment is locked (flock) as long as it may be written to, which processes of other containers
    see too; the kernel lets go of it however the writer ends. Where the file system knows no locks,
    its name lacks `.<random>`: then only the process id tells whether its writer lives.

    With `fsync`, lines count as written once they are on the disk. What is appended while a sync
    is under way shares the next one, so that many requests cost one (group commit). After a failure
    the segment is abandoned and the next append begins another, so no line follows half a line.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        header: Mapping[str, Any],
        fsync: bool = True,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        self.bytes_written = 0
        self._folder = folder
        self._stem = stem
        self._header = orjson.dumps(header) + b"\n"
        self._fsync = fsync
        self._rotate_bytes = rotate_bytes
        self._fd: int | None = None
        self._named = 0
        self._size = 0
        self._waiting: list[Done] = []
        self._syncing = 0
        self._disk = _Disk() if fsync else None

    def append(self, lines: bytes, done: Done) -> None:
        """Write whole lines; `done` is called, in the event loop, with None once they are kept.

        It is called with a LogError where they may not be: then none of them is acknowledged.
        """
        try:
            fd = self._open_segment(len(lines))
            written = os.write(fd, lines)
            self.bytes_written += written
            self._size += written
            if written != len(lines):
                raise OSError(None, f"only {written} of {len(lines)} bytes were written")
        except OSError as exc:
            self._abandon()
            done(self._error(exc))
            return
        if self._disk is None:
            done(None)
            return
        self._waiting.append(done)
        if not self._syncing:
            self._sync_waiting(self._disk, fd)

    async def append_and_wait(self, lines: bytes) -> None:
        """As `append`, for who can wait. Raises LogError."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: LogError | None) -> None:
            if kept.cancelled():
                return
            if error is None:
                kept.set_result(None)
            else:
                kept.set_exception(error)

        self.append(lines, done)
        await kept

    def check(self) -> None:
        """Raises LogError unless a row could be appended now."""
        try:
            self._open_segment(0)
        except OSError as exc:
            raise self._error(exc) from exc

    def close(self) -> None:
        """Close the segment once everything asked for is on the disk."""
        self._abandon()
        if self._disk is not None:
            self._disk.stop()

    def _sync_waiting(self, disk: _Disk, fd: int, *, close: bool = False) -> None:
        """Have the segment synced for all who wait, and closed after if it is done with."""
        covered, self._waiting = self._waiting, []
        self._syncing += 1

        def synced(error: OSError | None) -> None:
            self._syncing -= 1
            if error is not None and self._fd == fd:
                self._abandon()
            for done in covered:
                done(None if error is None else self._error(error))
            if self._waiting and not self._syncing and self._fd is not None:
                self._sync_waiting(disk, self._fd)

        disk.sync(fd, synced if covered else None, close=close)
        if not covered:
            self._syncing -= 1

    def _open_segment(self, coming: int) -> int:
        """The segment for so many bytes; another one if it is full or its file was removed."""
        if self._fd is not None:
            full = self._size + coming > self._rotate_bytes and self._size > len(self._header)
            if not full and os.fstat(self._fd).st_nlink:
                return self._fd
            self._abandon()
        self._folder.mkdir(parents=True, exist_ok=True)
        # It is locked, and has its header, before it has a name that others look for.
        unnamed = self._folder / f".{secrets.token_hex(8)}.new"
        fd = os.open(unnamed, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            locked = _lock(fd)
            if os.write(fd, self._header) != len(self._header):
                raise OSError(None, "the header does not fit")
            self._name(unnamed, locked)
            if self._fsync:
                _sync(fd)
                _sync_folder(self._folder)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                unnamed.unlink()
            raise
        self.bytes_written += len(self._header)
        self._size = len(self._header)
        self._fd = fd
        return fd

    def _name(self, unnamed: Path, locked: bool) -> None:
        # In the order of their names, segments are in the order of their rows.
        milliseconds = max(time.time_ns() // 1_000_000, self._named + 1)
        unique = f".{secrets.token_hex(4)}" if locked else ""
        path = self._folder / f"{self._stem}-{milliseconds}-{os.getpid()}{unique}.ndjson"
        while path.exists():
            milliseconds += 1
            path = self._folder / f"{self._stem}-{milliseconds}-{os.getpid()}{unique}.ndjson"
        unnamed.rename(path)
        self._named = milliseconds

    def _abandon(self) -> None:
        """Let go of the segment; who waits for it is still answered."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if self._disk is None:
            os.close(fd)
        else:
            self._sync_waiting(self._disk, fd, close=True)

    def _error(self, exc: OSError) -> LogError:
        error = LogError(f"{self._folder} cannot be written: {exc.strerror}")
        error.__cause__ = exc
        return error


class _Disk:
    """Syncs files one after the other: here while the disk is quick, else in a thread.

    Handing a sync to a thread and back costs more than a quick disk takes (measured: half of the
    throughput at 8 connections), but a slow one must not keep the event loop.
    """

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._in_thread = 0
        self._quick_in_a_row = 0

    def sync(self, fd: int, done: Callable[[OSError | None], None] | None, *, close: bool) -> None:
        """Sync `fd`, tell `done` in the calling event loop, and close `fd` if it is done with."""
        if not self._in_thread and self._quick_in_a_row >= QUICK_IN_A_ROW:
            error, seconds = _synced(fd, close)
            self._seen(seconds)
            if done is not None:
                done(error)
            return
        loop = asyncio.get_running_loop() if done is not None else None
        self._in_thread += 1

        def finish(error: OSError | None, seconds: float) -> None:
            self._in_thread -= 1
            self._seen(seconds)
            if done is not None:
                done(error)

        def work() -> None:
            outcome = _synced(fd, close)
            if loop is None:
                finish(*outcome)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(finish, *outcome)

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="log", daemon=True)
            self._thread.start()
        self._asked.put(work)

    def stop(self) -> None:
        """Wait until all that was asked for is done."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _seen(self, seconds: float) -> None:
        self._quick_in_a_row = self._quick_in_a_row + 1 if seconds < QUICK_SECONDS else 0

    def _work(self) -> None:
        while (work := self._asked.get()) is not None:
            work()


def _synced(fd: int, close: bool) -> tuple[OSError | None, float]:
    """What went wrong in syncing `fd`, and how long it took."""
    started = time.perf_counter()
    error = None
    try:
        _sync(fd)
    except OSError as exc:
        error = exc
    seconds = time.perf_counter() - started
    if close:
        os.close(fd)
    return error, seconds


def _lock(fd: int) -> bool:
    """Whether the file could be locked, which some file systems cannot."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
