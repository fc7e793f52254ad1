"""The prediction log as a worker writes it: nothing is answered that is not in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from mlops_pipelines.serve.disk import Disk
from mlops_pipelines.serve.segment_file import Ahead, SegmentFile

ROTATE_BYTES = 64 * 1024 * 1024
GROWTH = 4
# While rows keep coming in, a sync waits for them: about as long as it takes itself. Five times as
# long was worse near saturation, where rows that come one by one lose more than the syncs cost.
WINDOW_SECONDS = 0.0002


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

    With `room`, the first segment is laid out with so many bytes ahead of its rows, and each that
    follows with more, made before it is needed: who writes little takes little of the disk.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        header: Mapping[str, Any],
        fsync: bool = True,
        rotate_bytes: int = ROTATE_BYTES,
        room: int = 0,
    ) -> None:
        self.bytes_written = 0
        self.syncs = 0
        self._folder = folder
        self._stem = stem
        self._header = orjson.dumps(header) + b"\n"
        self._rotate_bytes = rotate_bytes
        self._room = min(room, rotate_bytes) if fsync else 0
        self._segment: SegmentFile | None = None
        self._ahead: Ahead | None = None
        self._named = 0
        self._waiting: list[Done] = []
        self._syncing = 0
        self._gathering = False
        self._disk = Disk() if fsync else None

    def append(self, lines: bytes, done: Done) -> None:
        """Write whole lines; `done` is called, in the event loop, with None once they are kept.

        It is called with a LogError where they may not be: then none of them is acknowledged.
        """
        try:
            segment = self._segment_for(len(lines))
            written = os.pwrite(segment.fd, lines, segment.size)
            self.bytes_written += written
            segment.size += written
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
        if not self._syncing and not self._gathering:
            self._gathering = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._gather, loop, loop.time() + WINDOW_SECONDS, 0)

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
            self._segment_for(0)
        except OSError as exc:
            raise self._error(exc) from exc

    def close(self) -> None:
        """Close the segment once everything asked for is on the disk."""
        ahead = self._ahead
        self._abandon()
        if ahead is not None:
            ahead.wait()
        if self._disk is not None:
            self._disk.stop()

    def _gather(self, loop: asyncio.AbstractEventLoop, until: float, seen: int) -> None:
        """Sync once a turn of the event loop has brought no more rows."""
        # What the first turn reads is answered, and appended, in the second.
        if (not seen or len(self._waiting) > seen) and loop.time() < until:
            loop.call_soon(self._gather, loop, until, len(self._waiting))
            return
        self._gathering = False
        if self._disk is not None and self._segment is not None and not self._syncing:
            self._sync_waiting(self._disk, self._segment)

    def _sync_waiting(self, disk: Disk, segment: SegmentFile, *, close: bool = False) -> None:
        """Have the segment synced for all who wait, and closed after if it is done with."""
        covered, self._waiting = self._waiting, []

        def synced(error: OSError | None) -> None:
            self._syncing -= 1
            if error is not None and self._segment is segment:
                self._abandon()
            for done in covered:
                done(None if error is None else self._error(error))
            if self._waiting and not self._syncing and self._segment is not None:
                self._sync_waiting(disk, self._segment)

        self._syncing += bool(covered)
        if close:
            disk.close(segment.fd, segment.size, synced if covered else None)
        elif covered:
            self.syncs += 1
            disk.sync(segment.fd, synced)

    def _segment_for(self, coming: int) -> SegmentFile:
        """The segment for so many bytes; another one if it is full or its file was removed."""
        segment = self._segment
        if segment is None:
            return self._begin(self._make(self._room))
        if not os.fstat(segment.fd).st_nlink:
            self._abandon()
            return self._begin(self._make(self._room))
        end = segment.size + coming
        if segment.room and end > segment.room // 2 and self._ahead is None:
            # Laid out by now, or the rows go on behind the room: slower to sync, and no less safe.
            room = min(GROWTH * segment.room, self._rotate_bytes)
            self._ahead = Ahead(lambda go_on: self._make(room, go_on))
        full = end > (segment.room or self._rotate_bytes) and segment.size > len(self._header)
        if not full or (end <= self._rotate_bytes and self._ahead and not self._ahead.ready):
            return segment
        following = self._following()
        self._abandon()
        return self._begin(following or self._make(0))

    def _make(self, room: int, go_on: Callable[[], bool] | None = None) -> SegmentFile:
        made = SegmentFile(self._folder, self._header, room, go_on)
        try:
            made.publish(self._stem, self._named)
            if self._disk is not None:
                made.sync()
        except OSError:
            made.discard()
            raise
        return made

    def _begin(self, segment: SegmentFile) -> SegmentFile:
        self.bytes_written += len(self._header)
        self._named = segment.milliseconds
        self._segment = segment
        return segment

    def _following(self) -> SegmentFile | None:
        """The segment that was made ahead; one that is still being made is not waited for."""
        ahead, self._ahead = self._ahead, None
        return None if ahead is None else ahead.take()

    def _abandon(self) -> None:
        """Let go of the segment; who waits for it is still answered."""
        following = self._following()
        if following is not None:
            following.discard()
        segment, self._segment = self._segment, None
        if segment is None:
            return
        if self._disk is None:
            os.close(segment.fd)
        else:
            self._sync_waiting(self._disk, segment, close=True)

    def _error(self, exc: OSError) -> LogError:
        error = LogError(f"{self._folder} cannot be written: {exc.strerror}")
        error.__cause__ = exc
        return error
