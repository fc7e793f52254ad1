"""One file of the log as it is written: its lock, its name, and room that is laid out ahead.

A sync of bytes that a file grew by also writes the file system's journal, and waits for whoever
else does; one of bytes that were there writes those alone (measured: 0.09 ms for 0.24). So where
rows are synced, a segment begins as zeros that its rows take the place of. No row holds a zero
byte: where one is, the rows end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mlops_pipelines.serve.disk import fdatasync

# Rows that are synced meanwhile wait for no more than a piece, and seldom.
PIECE_BYTES = 128 * 1024
PAUSE = 4.0
ABANDONED_SECONDS = 60.0


class SegmentFile:
    """A new file with a header and `room` bytes in all, not to be found by its name yet.

    It is locked (flock) from the start. `size` is where the next row goes. With `go_on` the room is
    laid out at leisure, as long as that says so; without, at once. Raises OSError.
    """

    def __init__(
        self, folder: Path, header: bytes, room: int, go_on: Callable[[], bool] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.room = room
        self.size = len(header)
        self.milliseconds = 0
        self._path = folder / f".{secrets.token_hex(8)}.new"
        self.fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._locked = _lock(self.fd)
            if os.pwrite(self.fd, header, 0) != len(header):
                raise OSError(None, "the header does not fit")
            if room:
                self._lay_out(go_on)
        except OSError:
            self.discard()
            raise

    def publish(self, stem: str, after: int) -> None:
        """Give it the name that others look for, of a millisecond later than `after`.

        In the order of their names, segments are in the order of their rows.
        """
        milliseconds = max(time.time_ns() // 1_000_000, after + 1)
        unique = f".{secrets.token_hex(4)}" if self._locked else ""
        folder = self._path.parent
        while (path := folder / f"{stem}-{milliseconds}-{os.getpid()}{unique}.ndjson").exists():
            milliseconds += 1
        self._path.rename(path)
        self._path = path
        self.milliseconds = milliseconds

    def sync(self) -> None:
        """Have the file and its name on the disk."""
        fdatasync(self.fd)
        fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def discard(self) -> None:
        """Remove it; no row was written to it."""
        os.close(self.fd)
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _lay_out(self, go_on: Callable[[], bool] | None) -> None:
        at = self.size
        try:
            while at < self.room and (go_on is None or go_on()):
                started = time.perf_counter()
                at += os.pwrite(self.fd, bytes(min(PIECE_BYTES, self.room - at)), at)
                if go_on is not None and at < self.room:
                    fdatasync(self.fd)
                    time.sleep(PAUSE * (time.perf_counter() - started))
        except OSError:
            # What little is left on the disk is for rows.
            os.ftruncate(self.fd, self.size)
            self.room = 0


class Ahead:
    """The segment after the present one, made in a thread while that one fills."""

    def __init__(self, make: Callable[[Callable[[], bool]], SegmentFile]) -> None:
        """`make` gives it, published and on the disk; it asks what it is given whether to go on."""
        self._lock = threading.Lock()
        self._wanted = True
        self._made: SegmentFile | None = None
        self.ready = False
        """Whether it is made, or cannot be."""
        self._thread = threading.Thread(target=self._run, args=(make,), name="ahead", daemon=True)
        self._thread.start()

    def take(self) -> SegmentFile | None:
        """The segment; None where it is not made, and then nobody will have it."""
        with self._lock:
            self._wanted = False
            made, self._made = self._made, None
        return made

    def wait(self) -> None:
        """Until the thread is done, and has removed what nobody wants."""
        self._thread.join()

    def _run(self, make: Callable[[Callable[[], bool]], SegmentFile]) -> None:
        made = None
        with contextlib.suppress(OSError):
            made = make(lambda: self._wanted)
        with self._lock:
            if self._wanted:
                self._made, made = made, None
            self.ready = True
        if made is not None:
            made.discard()


def written_bytes(file: BinaryIO) -> int:
    """Where the zeros begin that were laid out ahead; else the file's size.

    A writer may be writing meanwhile. What it had on the disk lies before it.
    """
    fd = file.fileno()
    low, high = 0, os.fstat(fd).st_size
    if not high or os.pread(fd, 1, high - 1) != b"\0":
        return high
    while low < high:
        middle = (low + high) // 2
        # A file that was cut off meanwhile has nothing there.
        if os.pread(fd, 1, middle) in (b"\0", b""):
            high = middle
        else:
            low = middle + 1
    return low


def sweep(folder: Path) -> None:
    """Remove what killed writers had laid out and not begun to write to."""
    for path in folder.glob(".*.new"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < ABANDONED_SECONDS:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _lock(fd: int) -> bool:
    """Whether the file could be locked, which some file systems cannot."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
