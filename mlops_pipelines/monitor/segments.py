"""Which segments of a server's log are finished, so that they may go once their rows are kept."""

from __future__ import annotations

import fcntl
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from mlops_pipelines.errors import StoreError

log = logging.getLogger(__name__)

_NAME = re.compile(
    r"(?P<stem>.+)-(?P<milliseconds>\d+)-(?P<pid>\d+)(?P<locked>\.[0-9a-f]+)?\.ndjson"
)
"""As serve.log names them; servers of before this locked nothing, and their names say so."""
_CLOCK_SLACK = 60.0
"""Seconds by which a process may seem younger than what it wrote, when the clock was set."""


@contextmanager
def compacting(log_dir: Path) -> Iterator[None]:
    """Wait for, and hold, the one right to move rows out of `log_dir`; ends with the process."""
    try:
        log_dir.parent.mkdir(parents=True, exist_ok=True)
        lock = (log_dir.parent / f"{log_dir.name}.lock").open("w")
    except OSError as error:
        raise StoreError(
            f"{log_dir.parent} cannot be written: {error.strerror}; rows stay in the log"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def finished(log_dir: Path) -> frozenset[Path]:
    """Segments that nobody will write to again: let go of, rotated, or their process is gone.

    To be asked before reading: what is finished now is read whole afterwards.
    """
    names = {path: _NAME.fullmatch(path.name) for path in log_dir.glob("*.ndjson")}
    newest: dict[tuple[str, str], int] = {}
    for match in filter(None, names.values()):
        if not match["locked"]:
            writer = (match["stem"], match["pid"])
            newest[writer] = max(newest.get(writer, 0), int(match["milliseconds"]))
    return frozenset(
        path
        for path, match in names.items()
        if match
        and (
            not _held(path)
            if match["locked"]
            else int(match["milliseconds"]) < newest[match["stem"], match["pid"]]
            or not _lives(int(match["pid"]), int(match["milliseconds"]) / 1000)
        )
    )


def set_aside(path: Path, corrupt: int) -> None:
    """Take a finished segment, all of whose rows are kept, out of the log.

    Where it had corrupt lines it is not removed but renamed, for people to look at.
    """
    if not corrupt:
        path.unlink(missing_ok=True)
        return
    kept = path.with_suffix(".corrupt")
    log.warning(
        "%s: %d lines are no rows; its other rows are kept, it is now %s",
        path.name,
        corrupt,
        kept.name,
    )
    path.replace(kept)


def _held(path: Path) -> bool:
    """Whether a writer, in whatever container of this machine, still has the segment locked."""
    try:
        with path.open("rb") as segment:
            fcntl.flock(segment, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _lives(pid: int, wrote: float) -> bool:
    """Whether the process `pid` that wrote at `wrote` (epoch s) still runs, and not a later one."""
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return not gone and process.create_time() <= wrote + _CLOCK_SLACK
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
