"""What is remembered of a move of traffic under way, so that a killed run can be undone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.targets.target import Target
from mlops_pipelines.store import write_atomically

FILE = "rollout.json"
STOP = "rollout.stop"


@dataclass(frozen=True)
class Progress:
    """`version` is to take the traffic of `before`, and was or is being given `percent` of it.

    Written before each move: what it says may not have happened yet. Once a move is `over`,
    `version` is who has all traffic, and the books say so. `at` is when it was written. In a
    rollback `before` has failed, and `why` says how: it is to be quarantined.
    """

    strategy: Literal["blue_green", "canary", "rollback"]
    before: int | None
    version: int
    percent: int
    over: bool = False
    at: str = ""
    why: str = ""


def progress_of(target: Target, model: str) -> Progress | None:
    """The last move, which may be under way or left by a killed run; raises TargetError."""
    file = target.state_dir(model) / FILE
    try:
        said: Mapping[str, Any] = json.loads(file.read_bytes())
        return Progress(**said)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise TargetError(
            f"{file} cannot be read: {error}; remove it, and deploy the model again"
        ) from error


def keep(target: Target, model: str, progress: Progress) -> None:
    """Remember it before the traffic moves; raises TargetError."""
    said = {**asdict(progress), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    _write(target.state_dir(model) / FILE, said)


def finish(target: Target, model: str, version: int) -> None:
    """The move is over: `version` has all traffic, and the books say so; raises TargetError."""
    keep(target, model, Progress("blue_green", None, version, 100, over=True))
    (target.state_dir(model) / STOP).unlink(missing_ok=True)


def ask_to_stop(target: Target, model: str, why: str) -> bool:
    """Let a canary that is under way go back; False where there is none."""
    progress = progress_of(target, model)
    if progress is None or progress.over or progress.strategy != "canary":
        return False
    _write(target.state_dir(model) / STOP, {"why": why})
    return True


def asked_to_stop(target: Target, model: str) -> str:
    """Why the canary should go back; empty where nobody asked."""
    try:
        return str(json.loads((target.state_dir(model) / STOP).read_bytes())["why"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, LookupError) as error:
        return f"it was asked to stop ({error})"


def _write(file: Path, said: Mapping[str, Any]) -> None:
    try:
        write_atomically(file, json.dumps(said).encode() + b"\n")
    except OSError as error:
        raise TargetError(
            f"{file} cannot be written: {error.strerror}; make its folder writable"
        ) from error
