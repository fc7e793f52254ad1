"""Looks at worker processes from outside, and ends them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.targets.target import Usage

END_SECONDS = 10.0
DRAIN_SECONDS = 32.0
STAY_SECONDS = 1.0


def of_control_dir(control_dir: Path) -> list[int]:
    """Every living worker of this control folder, also one that has not opened its sockets yet."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if _argument(process.info["cmdline"] or [], "--control-dir") == str(control_dir)
    ]


def bundle_folder(pid: int) -> Path:
    """The bundle that a worker was started with; raises TargetError where it is gone."""
    try:
        found = _argument(psutil.Process(pid).cmdline(), "--bundle")
    except psutil.Error as error:
        raise TargetError(f"worker {pid} has just ended") from error
    if found is None:
        raise TargetError(f"process {pid} is no worker")
    return Path(found)


def usage(pid: int, version: int) -> Usage | None:
    """What a worker has used since it started; None where it is gone."""
    try:
        process = psutil.Process(pid)
        times, memory = process.cpu_times(), process.memory_info().rss
    except psutil.Error:
        return None
    try:
        disk = process.io_counters()
    except (psutil.Error, AttributeError, NotImplementedError):
        # macOS counts none, and a container may hide them.
        disk = None
    return Usage(
        str(pid),
        version,
        times.user + times.system,
        memory,
        disk_read_bytes=disk.read_bytes if disk else None,
        disk_written_bytes=disk.write_bytes if disk else None,
    )


def staying(pids: Sequence[int], seconds: float = STAY_SECONDS) -> list[int]:
    """Those of the processes that do not end by themselves within so many seconds."""
    return [process.pid for process in _wait(_running(pids), seconds)]


def end(pids: Sequence[int], seconds: float = END_SECONDS) -> None:
    """Ask the processes to drain and end; who has not after `seconds` is killed."""
    running = _running(pids)
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    alive = _wait(running, seconds)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(alive, seconds)


def _running(pids: Sequence[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def _wait(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended; those that have not after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        alive = [process for process in processes if _lives(process)]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.02)


def _lives(process: psutil.Process) -> bool:
    # An orphan stays as a zombie where the first process of a container reaps none.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _argument(command: Sequence[str], name: str) -> str | None:
    for option, value in pairwise(command):
        if option == name:
            return value
    return None
