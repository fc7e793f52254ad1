from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path

import pytest

from mlops_pipelines.record import Provenance, file_hash, provenance


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.org", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    (root / "code.py").write_text("a = 1\n")
    (root / "requirements.lock").write_text("numpy==2\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    found = provenance(repository, "run-1")

    assert found == Provenance(
        git_commit=git(repository, "rev-parse", "HEAD"),
        git_dirty="",
        lock_hash=hashlib.sha256(b"numpy==2\n").hexdigest(),
        python=platform.python_version(),
        dagster_run_id="run-1",
    )
    assert found.tags() == {
        "mlops.git_commit": found.git_commit,
        "mlops.git_dirty": "",
        "mlops.lock_hash": found.lock_hash,
        "mlops.python": found.python,
        "mlops.dagster_run_id": "run-1",
    }


def test_each_uncommitted_state_has_a_hash_of_its_own(repository: Path) -> None:
    (repository / "code.py").write_text("a = 2\n")
    changed = provenance(repository).git_dirty
    (repository / "code.py").write_text("a = 3\n")
    changed_again = provenance(repository).git_dirty
    (repository / "code.py").write_text("a = 2\n")

    assert len({"", changed, changed_again}) == 3
    assert provenance(repository).git_dirty == changed


def test_the_content_of_a_new_file_counts(repository: Path) -> None:
    (repository / "new.py").write_text("a = 1\n")
    added = provenance(repository).git_dirty
    (repository / "new.py").write_text("a = 2\n")

    assert provenance(repository).git_dirty != added != ""


def test_a_file_that_is_not_utf_8_is_told_apart_too(repository: Path) -> None:
    (repository / "code.py").write_bytes(b"# caf\xe9\n")
    changed = provenance(repository).git_dirty
    (repository / "code.py").write_bytes(b"# caf\xe8\n")

    assert len({"", changed, provenance(repository).git_dirty}) == 3


def test_a_new_file_may_have_any_name(repository: Path) -> None:
    (repository / "né w.py").write_text("a = 1\n")
    added = provenance(repository).git_dirty
    (repository / "né w.py").write_text("a = 2\n")

    assert provenance(repository).git_dirty != added != ""


def test_without_git_and_lock_it_says_so(tmp_path: Path) -> None:
    found = provenance(tmp_path)

    assert (found.git_commit, found.git_dirty, found.lock_hash) == (
        "not a git repository",
        "",
        "no lock file",
    )


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)

    assert file_hash(tmp_path / "a") == hashlib.sha256(b"x" * 1_000_000).hexdigest()
