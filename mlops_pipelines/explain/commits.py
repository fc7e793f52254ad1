"""What git knows of the code between two versions."""

from __future__ import annotations

import re
from pathlib import Path

from mlops_pipelines.record import git


def changed_files(root: Path, before: str, after: str) -> tuple[str, ...] | None:
    """`git diff --stat` of the project folder, a line per file; None where a commit is unknown."""
    if not all(re.fullmatch(r"[0-9a-f]{7,64}", commit) for commit in (before, after)):
        return None
    said = git(root, "diff", "--stat=100", before, after, "--", ".")
    return None if said is None else tuple(line.strip() for line in said.splitlines())
