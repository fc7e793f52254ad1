"""Whether a bundle, started as it will be in production, answers as the model did in training."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.golden import Golden
from mlops_pipelines.release.private_worker import private_workers
from mlops_pipelines.release.targets.worker import request


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


Asked = tuple[int, bytes, float]
"""Status and content of an answer, and the seconds until what gave it was ready."""


def serves(bundle: Path) -> Serves:
    """Start `bundle` in a process of its own, ask its golden rows over HTTP, compare, stop it.

    It never takes traffic, and its prediction log is not kept. What is wrong is told in the
    sentence, not raised.
    """
    return judged(bundle, _asked)


def judged(bundle: Path, asked: Callable[[Path, bytes], Asked]) -> Serves:
    """What the golden rows of `bundle` show of whatever `asked` starts and puts them to."""
    started = time.monotonic()
    try:
        golden = Golden(bundle)
        status, content, seconds = asked(bundle, golden.body())
        if status != 200:
            raise TargetError(f"it answers {status}: {content.decode('utf-8', 'replace')[:300]}")
        agreement = golden.compare(json.loads(content))
    except (TargetError, OSError, ValueError, KeyError, http.client.HTTPException) as error:
        seconds = round(time.monotonic() - started, 3)
        return Serves(False, 0, float("inf"), seconds, f"it does not serve: {error}")
    return Serves(
        agreement.holds,
        agreement.rows,
        agreement.largest_difference,
        seconds,
        f"{agreement.sentence}, over HTTP; ready after {seconds:.1f} s",
    )


def _asked(bundle: Path, body: bytes) -> Asked:
    with private_workers(bundle) as (worker,):
        status, content = request(worker.path, "POST", "/invocations", body)
        return status, content, worker.seconds_to_ready
