"""The prediction log as a worker writes it: nothing is answered that is not in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from mlops_pipelines.serve.segments import LabelRow, Prediction

ROTATE_BYTES = 64 * 1024 * 1024

# macOS knows no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)


class LogError(Exception):
    """The prediction log cannot be written."""


class SegmentWriter:
    """Appends rows to `<folder>/<stem>-<unix ms>-<pid>.ndjson`, beginning anew at `rotate_bytes`.

    A request's rows are one write. With `fsync` they are on the disk when `append` returns: the
    sync runs in a thread, one after the other, so that the event loop goes on. After a failure the
    segment is abandoned and the next append begins another, so no row follows half a line.
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
        # One thread: a segment is closed only after the syncs that were asked for before.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="log")

    async def append(self, rows: Iterable[Prediction | LabelRow]) -> None:
        """Write the rows. Raises LogError; then none of them may be acknowledged."""
        lines = b"".join(orjson.dumps(list(row)) + b"\n" for row in rows)
        fd = None
        try:
            fd = self._open_segment(len(lines))
            written = os.write(fd, lines)
            self.bytes_written += written
            if written != len(lines):
                self._abandon(fd)
                raise LogError(f"{self._folder}: only {written} of {len(lines)} bytes were written")
            if self._fsync:
                await asyncio.get_running_loop().run_in_executor(self._disk, _sync, fd)
        except OSError as exc:
            self._abandon(fd)
            raise LogError(f"{self._folder} cannot be written: {exc.strerror}") from exc

    def check(self) -> None:
        """Raises LogError unless a row could be appended now."""
        try:
            self._open_segment(0)
        except OSError as exc:
            raise LogError(f"{self._folder} cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        """Close the segment once everything asked for is on the disk."""
        self._abandon(self._fd)
        self._disk.shutdown()

    def _open_segment(self, coming: int) -> int:
        """The segment for so many bytes; another one if it is full or its file was removed."""
        if self._fd is not None:
            status = os.fstat(self._fd)
            full = status.st_size + coming > self._rotate_bytes
            if status.st_nlink and not (full and status.st_size > len(self._header)):
                return self._fd
            self._abandon(self._fd)
        self._folder.mkdir(parents=True, exist_ok=True)
        milliseconds = time.time_ns() // 1_000_000
        while True:
            path = self._folder / f"{self._stem}-{milliseconds}-{os.getpid()}.ndjson"
            try:
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
                break
            except FileExistsError:
                milliseconds += 1
        try:
            if os.write(fd, self._header) != len(self._header):
                raise OSError(None, "the header does not fit")
            if self._fsync:
                _sync(fd)
                _sync_folder(self._folder)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self.bytes_written += len(self._header)
        self._fd = fd
        return fd

    def _abandon(self, fd: int | None) -> None:
        if fd is not None and fd == self._fd:
            self._fd = None
            self._disk.submit(os.close, fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562, 5.7): sorts by the millisecond it was made in."""
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    digits = f"{value | 0b10 << 62 | secrets.randbits(62):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
