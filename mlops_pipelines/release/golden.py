"""The golden rows of a bundle: answers of today beside those of training."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlops_pipelines.errors import MlopsError
from mlops_pipelines.release.signing import check
from mlops_pipelines.release.targets.worker import serve_command, serve_environment

TOLERANCE = 1e-9
"""Largest difference that counts as the same where scikit-learn serves; ONNX Runtime states its
own. It is one of a probability, or of a regression's prediction relative to its size or to the
runtime's scale, whichever is larger."""
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Agreement:
    """How n answers compare: differing labels, and the largest difference of a score."""

    rows: int
    differing: int
    largest_difference: float
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether they are the same answers."""
        return self.differing == 0 and self.largest_difference <= self.tolerance

    @property
    def sentence(self) -> str:
        """What was found."""
        if self.holds:
            return f"{self.rows} golden rows are answered as in training"
        return (
            f"{self.differing} of {self.rows} golden predictions differ from training, scores by "
            f"up to {self.largest_difference:.3g} ({self.tolerance:g} is allowed)"
        )


class Golden:
    """The rows and answers that were put aside when the bundle's model was trained."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._said: dict[str, Any] = json.loads((bundle / "golden.json").read_bytes())

    @cached_property
    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = json.loads((self._bundle / "bundle.json").read_bytes())
        return about

    @property
    def rows(self) -> int:
        """How many."""
        return len(self._said["rows"])

    def bare_rows(self) -> bytes:
        """The rows as the server's `--answer` reads them."""
        return json.dumps({"rows": self._said["rows"]}).encode()

    def body(self) -> bytes:
        """The rows as a request to /invocations."""
        names = [column["name"] for column in self._about["columns"]]
        return json.dumps(
            {"dataframe_split": {"columns": names, "data": self._said["rows"]}}
        ).encode()

    def compare(self, answer: dict[str, Any]) -> Agreement:
        """An answer to all of the rows beside the training-time one."""
        then, now = self._said["predictions"], answer["predictions"]
        # A regression's predictions are its scores, which are compared as numbers.
        labels = zip(then, now, strict=True) if self._about["task"] != "regression" else ()
        scores = zip(self._said["scores"] or [], answer.get("scores") or [], strict=True)
        runtime = self._about.get("runtime", {})
        scale = runtime.get("scale", 1.0)
        apart = (abs(a - b) / max(scale, abs(a)) for a, b in scores)
        return Agreement(
            rows=len(then),
            differing=sum(a != b for a, b in labels),
            largest_difference=max(apart, default=0.0),
            tolerance=runtime.get("tolerance") or TOLERANCE,
        )


def rehearsal(version: int | None, bundle_of: Callable[[int], Path]) -> Callable[[], str]:
    """Says whether `version` could take the traffic back; its bundle is looked up before."""
    if version is None:
        return lambda: "there is no earlier version to return to"
    try:
        bundle = bundle_of(version)
    except MlopsError as error:
        obstacle = f"version {version} could not take the traffic back: {error}"
        return lambda: obstacle

    def say() -> str:
        holds, sentence = rehearse(bundle)
        could = "could" if holds else "could not"
        return f"version {version} {could} take the traffic back: {sentence}"

    return say


def rehearse(bundle: Path) -> tuple[bool, str]:
    """Whether a bundle could take the traffic: loaded in a process of its own, it answers as ever.

    Returns the verdict and one sentence; nothing is raised for a bundle that fails.
    """
    try:
        check(bundle)
        golden = Golden(bundle)
        done = subprocess.run(
            [*serve_command(bundle), "--answer"],
            input=golden.bare_rows(),
            capture_output=True,
            timeout=ANSWER_SECONDS,
            env=serve_environment(bundle),
            check=False,
        )
        if done.returncode != 0:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            return False, lines[-1] if lines else f"it ended with exit code {done.returncode}"
        agreement = golden.compare(json.loads(done.stdout))
    except (MlopsError, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        return False, f"it cannot be tried: {error}"
    return agreement.holds, agreement.sentence
