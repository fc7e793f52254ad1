"""Whether a bundle, started as it will be in production, answers as the model did in training."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.golden import Golden
from mlops_pipelines.release.targets.worker import await_ready, request, start_worker


@dataclass(frozen=True)
class Serves:
    """How a started bundle answered its golden rows over HTTP, beside the training-time answers.

    `largest_difference` is that of the scores; infinite where the bundle did not answer.
    """

    passed: bool
    rows: int
    largest_difference: float
    seconds_to_ready: float
    sentence: str


def serves(bundle: Path) -> Serves:
    """Start `bundle` in a process of its own, ask its golden rows over HTTP, compare, stop it.

    It never takes traffic, and its prediction log is not kept. What is wrong is told in the
    sentence, not raised.
    """
    started = time.monotonic()
    seconds = 0.0
    try:
        golden = Golden(bundle)
        with tempfile.TemporaryDirectory(prefix="mlops-serves-") as scratch:
            status, content, seconds = _ask(bundle, golden.body(), Path(scratch))
        if status != 200:
            raise TargetError(f"it answers {status}: {content.decode('utf-8', 'replace')[:300]}")
        agreement = golden.compare(json.loads(content))
    except (TargetError, OSError, ValueError, KeyError) as error:
        seconds = seconds or round(time.monotonic() - started, 3)
        return Serves(False, 0, float("inf"), seconds, f"it does not serve: {error}")
    return Serves(
        agreement.holds,
        agreement.rows,
        agreement.largest_difference,
        seconds,
        f"{agreement.sentence}, over HTTP; ready after {seconds:.1f} s",
    )


def _ask(bundle: Path, body: bytes, folder: Path) -> tuple[int, bytes, float]:
    """Status and body of the answer, and the seconds until the worker was ready."""
    worker_log, started = folder / "worker.log", time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Attached: a run that is killed here must not leave a worker that nobody knows of.
        process = start_worker(bundle, folder, folder, worker_log, listener, attached=True)
    try:
        worker = await_ready([process], folder, worker_log)[0]
        seconds = round(time.monotonic() - started, 3)
        return *request(worker.http, "POST", "/invocations", body), seconds
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
