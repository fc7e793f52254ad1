"""What is written down about a version, and under which names.

There is no third ledger: these are the tags of an MLflow run and model version, and each leads to
another book: the snapshot in the store, the commit in git, the run in Dagster's event log.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SNAPSHOT = "mlops.snapshot"
GIT_COMMIT = "mlops.git_commit"
GIT_DIRTY = "mlops.git_dirty"
LOCK_HASH = "mlops.lock_hash"
PYTHON = "mlops.python"
DAGSTER_RUN = "mlops.dagster_run_id"
PARENT_VERSION = "mlops.parent_version"
BUNDLE = "mlops.bundle_digest"
IMAGE = "mlops.image_digest"
BOM = "mlops.bom_digest"
"""The SHA-256 of the bill of materials."""
MODEL = "mlops.model"
VERSION = "mlops.version"
TASK = "mlops.task"
KIND = "mlops.kind"
"""training, or evaluation (a night)."""
DAY = "mlops.day"
VERDICTS = {name: f"mlops.verdict.{name}" for name in ("drift", "performance", "health")}
"""By what was judged, the tag of a night that says ok, alarm or insufficient_data."""
TRUSTED_TYPES = "mlops.trusted_types"
GATES = "mlops.gates"
"""passed, or refused: <why>."""
DEPLOYED_AT = "mlops.deployed_at"
DEPLOYED_BY = "mlops.deployed_by"
QUARANTINED = "mlops.quarantined"
"""Why this version must not be promoted again by itself; absent where it may."""
QUARANTINED_AT = "mlops.quarantined_at"

CHAMPION = "champion"
PREVIOUS = "previous"
"""MLflow aliases: the version that serves, and the one before it."""


@dataclass(frozen=True)
class Provenance:
    """What made a version: code, environment and the run that made it.

    `git_dirty` is empty for a clean tree, else the hash of the difference to `git_commit`.
    """

    git_commit: str
    git_dirty: str
    lock_hash: str
    python: str
    dagster_run_id: str

    def tags(self) -> Mapping[str, str]:
        """As tags of an MLflow run or model version."""
        return {
            GIT_COMMIT: self.git_commit,
            GIT_DIRTY: self.git_dirty,
            LOCK_HASH: self.lock_hash,
            PYTHON: self.python,
            DAGSTER_RUN: self.dagster_run_id,
        }


def provenance(root: Path, dagster_run_id: str = "") -> Provenance:
    """What is at work in the project folder `root` now."""
    lock = root / "requirements.lock"
    return Provenance(
        git_commit=_git(root, "rev-parse", "HEAD") or "not a git repository",
        git_dirty=_dirty(root),
        lock_hash=file_hash(lock) if lock.exists() else "no lock file",
        python=platform.python_version(),
        dagster_run_id=dagster_run_id,
    )


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _dirty(root: Path) -> str:
    changed = _git(root, "status", "--porcelain", "--", ".")
    if not changed:
        return ""
    difference = _git(root, "diff", "HEAD", "--", ".")
    # -z: else a name that is not ASCII comes quoted, and its file would not be found.
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", ".")
    contents = [_content(root / name) for name in untracked.split("\0") if name]
    return hashlib.sha256("\n".join((changed, difference, *contents)).encode()).hexdigest()[:16]


def _content(path: Path) -> str:
    # Data may lie about, and is named by its snapshot; code is small.
    try:
        size = path.stat().st_size
        return file_hash(path) if size < 1_000_000 else str(size)
    except OSError:
        return ""


def git(
    root: Path, *arguments: str, env: Mapping[str, str] | None = None, seconds: float = 20
) -> str | None:
    """What `git <arguments>` prints in the folder `root`; None where it fails or takes too long.

    `env` is added to this process's environment. Bytes that are no UTF-8 are escaped.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            # A file in another encoding may be among what a difference shows.
            encoding="utf-8",
            errors="backslashreplace",
            timeout=seconds,
            check=False,
            # Looking must not contend with the user's own git commands.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **(env or {})},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _git(root: Path, *arguments: str) -> str:
    return (git(root, *arguments) or "").strip()
