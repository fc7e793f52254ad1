"""Puts the code that trained a version to a folder, and says what of it is not known.

Git writes a copy of the recorded commit: neither the work tree nor the repository is touched. (`git
worktree` would write into the repository, and `git archive` leaves out what .gitattributes says.)
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.record import git

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Version

_TOO_LARGE = 1_000_000
_SECONDS = 120


def write_tree(root: Path, tree: Path, version: Version) -> tuple[str | None, list[str]]:
    """Put the code that trained the version, as far as it is known, to `tree`.

    Returns its commit, None where the present tree was taken, and sentences on what has changed
    since and what is not known. Raises ReleaseError where git cannot write the commit.
    """
    commit = version.tags.get(record.GIT_COMMIT, "")
    dirty = version.tags.get(record.GIT_DIRTY, "")
    now = record.provenance(root)
    if dirty and (commit, dirty) == (now.git_commit, now.git_dirty):
        _copy_present(root, tree)
        return None, [
            "it was trained with uncommitted changes, and they are those of the work tree now, "
            "by their hash: the present tree was run"
        ]
    notes = []
    if dirty:
        notes.append(
            "it was trained with uncommitted changes: the model's own files are those kept in "
            "MLflow; what else was changed then (the library, data beside the code) is not known"
        )
    if git(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        known = " " not in commit and bool(commit)
        why = (
            f"commit {commit[:12]} is not in this repository" if known else "no commit is on record"
        )
        notes.append(f"{why}: the present code was run, with the model's own files kept in MLflow")
        _copy_present(root, tree)
        return None, notes
    if commit != now.git_commit:
        notes.append(
            f"the code has changed since: it was trained at {commit[:12]}, which was run again, "
            f"and {now.git_commit[:12]} is checked out"
        )
    if now.git_dirty:
        notes.append("there are uncommitted changes in the work tree; they were not used")
    _check_out(root, tree, commit)
    return commit, notes


def surroundings(root: Path, version: Version) -> list[str]:
    """What else than the code may make a difference."""
    now, notes = record.provenance(root), []
    lock = version.tags.get(record.LOCK_HASH, "")
    if lock and lock != now.lock_hash:
        notes.append(
            f"requirements.lock has changed since ({lock[:12]} then, {now.lock_hash[:12]} now): "
            "the packages are those installed now"
        )
    python = version.tags.get(record.PYTHON, "")
    if python and python != platform.python_version():
        notes.append(f"it was trained with Python {python}; this is {platform.python_version()}")
    return notes


def _check_out(root: Path, tree: Path, commit: str) -> None:
    """The project folder as of `commit`, by an index of its own."""
    inside = (git(root, "rev-parse", "--show-prefix") or "").strip()
    top = (git(root, "rev-parse", "--show-toplevel") or str(root)).strip()
    whole = tree.with_name("checkout")
    with tempfile.TemporaryDirectory(prefix="mlops-index-") as folder:
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        done = git(Path(top), "read-tree", commit, env=index, seconds=_SECONDS)
        if done is not None:
            arguments = ("checkout-index", "--all", "--quiet", f"--prefix={whole}/")
            done = git(Path(top), *arguments, env=index, seconds=_SECONDS)
    if done is None or not (whole / inside).is_dir():
        raise ReleaseError(
            f"git cannot write commit {commit[:12]} of {root} to a temporary folder; look at "
            "`git fsck`, and at the space left on the disk"
        )
    (whole / inside).rename(tree)


def _copy_present(root: Path, tree: Path) -> None:
    """The project folder as it is: links, but copies of what lies under assets/."""
    tree.mkdir()
    for path in root.iterdir():
        if path.name not in ("assets", ".git"):
            (tree / path.name).symlink_to(path)

    def copy(source: str, target: str) -> None:
        # Data may lie beside the code; it is not what is trained on.
        if os.path.getsize(source) > _TOO_LARGE:
            os.symlink(source, target)
        else:
            shutil.copyfile(source, target)

    skipped = shutil.ignore_patterns("__pycache__")
    if (root / "assets").is_dir():
        shutil.copytree(root / "assets", tree / "assets", ignore=skipped, copy_function=copy)
