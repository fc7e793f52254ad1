"""What git knows of the code between two versions."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

SECONDS = 20


def changed_files(root: Path, before: str, after: str) -> tuple[str, ...] | None:
    """`git diff --stat` of the project folder, a line per file; None where a commit is unknown."""
    if not all(re.fullmatch(r"[0-9a-f]{7,64}", commit) for commit in (before, after)):
        return None
    done = _git(root, "diff", "--stat=100", before, after, "--", ".")
    return None if done is None else tuple(line.strip() for line in done.splitlines())


def _git(root: Path, *arguments: str) -> str | None:
    # GIT_OPTIONAL_LOCKS: looking must not contend with the user's own git commands.
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
