"""Trains a version again from its recorded snapshot, code and seeds, and compares.

The training runs in a process of its own, on a copy of the recorded commit that git writes to a
temporary folder: neither the work tree nor the repository is touched. (`git worktree` would write
into the repository, and `git archive` leaves out what .gitattributes says.) Nothing is registered.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

Progress = Callable[[str, float | None], None]

_TOO_LARGE = 1_000_000


@dataclass(frozen=True)
class Changed:
    """A parameter or metric that came out differently; None where it is not there."""

    name: str
    recorded: str | float | None
    now: str | float | None


@dataclass(frozen=True)
class Reproduction:
    """A version beside the same training done again.

    Of `rows` holdout rows `differing` are answered otherwise, prediction and scores compared to
    the last bit, by `largest` at most; `golden` says whether the answers that were written down at
    training come out again. `commit` is whose code was run, None where it was the present tree.
    `notes` are sentences on what has changed since, and on what cannot be known.
    """

    model: str
    version: int
    rows: int
    differing: int
    largest: float
    golden: bool
    params: int
    metrics: int
    changed: tuple[Changed, ...]
    commit: str | None
    notes: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether all predictions, parameters and metrics came out as recorded."""
        return not self.differing and self.golden and not self.changed

    def as_dict(self) -> dict[str, Any]:
        """As a JSON value."""
        return {**asdict(self), "identical": self.identical}


def reproduce(
    registry: Registry,
    store: Store,
    root: Path,
    model: str,
    version: int,
    on_progress: Progress | None = None,
) -> Reproduction:
    """Train `version` of `model` again; raises NotFoundError, ReleaseError, StoreError.

    ReleaseError where the snapshot is not as recorded, or the recorded code does not run.
    """
    progress = on_progress or (lambda *_: None)
    found = registry.version(model, version)
    progress("snapshot", None)
    with tempfile.TemporaryDirectory(prefix="mlops-reproduce-") as scratch:
        folder = Path(scratch)
        kept = _copy_snapshot(store, folder / "store", found)
        progress("code", None)
        tree = folder / "tree"
        commit, notes = _write_tree(root, tree, found)
        notes += _surroundings(root, found)
        job = {
            "tree": str(tree),
            "model": model,
            "folder": f"assets/{model}",
            "store": kept,
            "snapshot": found.tags[record.SNAPSHOT],
            "params": dict(found.params),
            "trusted": [t for t in found.tags.get(record.TRUSTED_TYPES, "").split(",") if t],
            "model_file": str(registry.fetch(model, version, "model/model.skops")),
            "golden": str(registry.fetch(model, version, "golden.json")),
            "declaration": _artifact(registry, found, "declaration.yaml"),
            "code": _artifact(registry, found, "code"),
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        progress("training", None)
        result = _train(folder / "job.json", tree, found, progress)
    if not Path(result["library"]).is_relative_to(tree.resolve()):
        notes.append("the project does not hold the library, so that the installed one was used")
    if result["lost"]:
        notes.append(
            f"it was launched with other parameters than declared, which cannot be handed to the "
            f"estimator again: {', '.join(result['lost'])}"
        )
    return _result(found, result, commit, notes)


def _copy_snapshot(store: Store, folder: Path, version: Version) -> str:
    """The snapshot's rows, proven to be those that were recorded, in a store of their own."""
    from mlops_pipelines.train.snapshot import load_snapshot, recompute_digest

    digest = version.tags[record.SNAPSHOT]
    snapshot = load_snapshot(store, version.model, digest)
    again = recompute_digest(store, snapshot)
    if again != digest:
        raise ReleaseError(
            f"{version.model} version {version.version}: its snapshot {digest[:12]} in the store "
            f"{store.shown} is not as recorded (it is {again[:12]} now), so that it cannot be "
            "trained on the same rows; restore the snapshot"
        )
    copy = Store(str(folder))
    for name in ("data.parquet", "snapshot.json"):
        copy.write_bytes(f"{snapshot.key}/{name}", store.read_bytes(f"{snapshot.key}/{name}"))
    return str(folder)


def _write_tree(root: Path, tree: Path, version: Version) -> tuple[str | None, list[str]]:
    """Put the code that trained the version, as far as it is known, to `tree`."""
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
    if _git(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
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


def _check_out(root: Path, tree: Path, commit: str) -> None:
    """The project folder as of `commit`, by an index of its own."""
    inside = (_git(root, "rev-parse", "--show-prefix") or "").strip()
    top = (_git(root, "rev-parse", "--show-toplevel") or str(root)).strip()
    whole = tree.with_name("checkout")
    with tempfile.TemporaryDirectory(prefix="mlops-index-") as folder:
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        done = _git(Path(top), "read-tree", commit, env=index)
        if done is not None:
            prefix = f"--prefix={whole}/"
            done = _git(Path(top), "checkout-index", "--all", "--quiet", prefix, env=index)
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


def _surroundings(root: Path, version: Version) -> list[str]:
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


def _train(job: Path, tree: Path, version: Version, progress: Progress) -> Mapping[str, Any]:
    script = Path(__file__).with_name("train_again.py")
    path = os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH"))))
    result: Mapping[str, Any] = {}
    with subprocess.Popen(
        # -P: what lies beside the script must not shadow what the tree imports.
        [sys.executable, "-P", str(script), str(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:
        try:
            for line in process.stdout or ():
                result = json.loads(line)
                if "progress" in result:
                    progress(str(result["progress"]), result["share"])
        except BaseException:
            process.kill()
            raise
    if "differing" not in result:
        why = result.get("error", f"its process ended with code {process.returncode}")
        raise ReleaseError(
            f"{version.model} version {version.version} cannot be trained again with the recorded "
            f"code: {why}"
        )
    return result


def _result(
    version: Version, result: Mapping[str, Any], commit: str | None, notes: Sequence[str]
) -> Reproduction:
    of_training = (*result["metrics"], *_of_training(version))
    recorded = {n: version.metrics[n] for n in of_training if n in version.metrics}
    changed = [*_changes(version.params, result["params"]), *_changes(recorded, result["metrics"])]
    return Reproduction(
        model=version.model,
        version=version.version,
        rows=result["rows"],
        differing=result["differing"],
        largest=result["largest"],
        golden=result["golden"],
        params=len(version.params),
        metrics=len(recorded),
        changed=tuple(changed),
        commit=commit,
        notes=tuple(notes),
    )


def _of_training(version: Version) -> Iterator[str]:
    """The metrics that training wrote: its cost is another each time."""
    for name in version.metrics:
        if "/" not in name and name.startswith(("train_", "cv_")):
            yield name


def _changes(
    recorded: Mapping[str, str | float], now: Mapping[str, str | float]
) -> Iterator[Changed]:
    for name in sorted(recorded.keys() | now.keys()):
        if recorded.get(name) != now.get(name):
            yield Changed(name, recorded.get(name), now.get(name))


def _artifact(registry: Registry, version: Version, name: str) -> str:
    try:
        return str(registry.fetch(version.model, version.version, name))
    except NotFoundError:
        return ""


def _git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str | None:
    """What git says, None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **(env or {})},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
