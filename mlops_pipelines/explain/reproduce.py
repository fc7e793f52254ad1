"""Trains a version again from its recorded snapshot, code and seeds, and compares.

The training runs in a process of its own, on a copy of the recorded code in a temporary folder.
Nothing is registered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.explain.recorded_tree import surroundings, write_tree
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

Progress = Callable[[str, float | None], None]


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
        commit, notes = write_tree(root, tree, found)
        notes += surroundings(root, found)
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
