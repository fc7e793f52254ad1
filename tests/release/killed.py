"""A releasing process that is killed after its n-th step, as `kill -9` would do it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from mlops_pipelines.release.rollout import release, roll_back
from mlops_pipelines.release.targets.process import ProcessTarget
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry

# A server that has imported what a release needs forks the processes: each starts at once.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.release.killed", "mlflow", "sqlalchemy"])


class KilledAfter(logging.Handler):
    """Counts the log lines of the steps; after the n-th, this process is gone."""

    def __init__(self, steps: int) -> None:
        super().__init__(logging.INFO)
        self._left = steps

    def emit(self, record: logging.LogRecord) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def run_killed(action: str, steps: int, place: dict[str, Any], version: int | None) -> bool:
    """Run release or roll_back in a process that dies after so many steps; whether it died."""
    process = _context.Process(target=_run, args=(action, steps, place, version))
    process.start()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise AssertionError(f"{action} ended with exit code {process.exitcode}")
    return process.exitcode != 0


def _run(action: str, steps: int, place: dict[str, Any], version: int | None) -> None:
    logger = logging.getLogger("mlops_pipelines.release")
    logger.setLevel(logging.INFO)
    logger.addHandler(KilledAfter(steps))
    books = (
        Registry(place["tracking_uri"], place["artifact_root"]),
        Store(place["store"]),
        ProcessTarget(Path(place["home"]), "127.0.0.1", place["ports"]),
        ModelSpec.model_validate(place["spec"]),
    )
    if action == "release":
        assert version is not None
        release(*books, version, "a test")
    else:
        roll_back(*books, version, "a test", "worse", {})
