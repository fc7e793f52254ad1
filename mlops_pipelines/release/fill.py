"""What goes into a bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlops_pipelines
from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.release.lock import serving_lock
from mlops_pipelines.serve.bundle import NEVER_CONVERTED, SCHEMA, described
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.release.convert import Conversion
    from mlops_pipelines.train.registry import Registry, Version

SKOPS = "model.skops"


def fill(
    folder: Path, registry: Registry, store: Store, root: Path, spec: ModelSpec, found: Version
) -> None:
    """Put into `folder` all that serves this version; raises NotFoundError, ReleaseError."""

    def artifact(name: str) -> Path:
        return registry.fetch(spec.name, found.version, name)

    snapshot = json.loads(artifact("snapshot.json").read_bytes())
    shutil.copyfile(artifact("golden.json"), folder / "golden.json")
    shutil.copyfile(artifact("profile.json"), folder / "reference_profile.json")
    shutil.copyfile(artifact("suite.json"), folder / "expectations.json")
    about = {
        "schema": SCHEMA,
        "model": spec.name,
        "version": found.version,
        "task": spec.task,
        "columns": snapshot["columns"],
        "target": snapshot["target"],
        "classes": snapshot["classes"],
        "positive": snapshot["positive"],
        "trusted_types": _trusted(found),
        "limits": spec.release.limits.model_dump(),
        "sync": spec.release.sync,
        "runtime": asdict(NEVER_CONVERTED),
        "run_id": found.run_id,
        "snapshot": snapshot["digest"],
        "git_commit": found.tags.get(record.GIT_COMMIT, ""),
        "git_dirty": found.tags.get(record.GIT_DIRTY, ""),
        "lock_hash": found.tags.get(record.LOCK_HASH, ""),
        "python": found.tags.get(record.PYTHON, ""),
    }
    shutil.copyfile(artifact("model/model.skops"), folder / SKOPS)
    _copy_own_code(folder / "code", registry, spec, found)
    conversion = _serving(folder, about, store, spec)
    if conversion.graph is not None:
        (folder / "model.onnx").write_bytes(conversion.graph)
        # Nothing of scikit-learn's is loaded for a graph, nor the code behind it.
        (folder / SKOPS).unlink()
        shutil.rmtree(folder / "code", ignore_errors=True)
        about["trusted_types"] = []
    about["runtime"] = asdict(conversion.runtime)
    _copy_server(folder / "code")
    lock = serving_lock(root, conversion.runtime.name)
    (folder / "requirements.lock").write_text(lock, "utf-8")
    write_json(folder / "bundle.json", about)


def _serving(folder: Path, about: dict[str, Any], store: Store, spec: ModelSpec) -> Conversion:
    """What is to serve the model in `folder`; the columns of `about` learn their levels.

    A model that cannot be converted is no error.
    """
    from mlops_pipelines.release.convert import convert, kept
    from mlops_pipelines.release.levels import closed_levels
    from mlops_pipelines.serve.bundle import BundleError
    from mlops_pipelines.serve.sklearn_model import SklearnModel
    from mlops_pipelines.train.snapshot import load_snapshot, read_rows

    meta = described(folder, about, "")
    try:
        rows = read_rows(store, load_snapshot(store, spec.name, about["snapshot"]))
    except NotFoundError:
        rows = None
    try:
        model = SklearnModel.load(meta, ())
    except BundleError as error:
        raise ReleaseError(
            f"{spec.name} version {meta.version} cannot be loaded: {error}"
        ) from error
    if rows is not None:
        levels = closed_levels(model, meta, rows.train)
        about["columns"] = [
            column | ({"levels": levels[column["name"]]} if column["name"] in levels else {})
            for column in about["columns"]
        ]
    if spec.release.runtime == "scikit-learn":
        return kept("the declaration says so (release.runtime)")
    own = [name.rpartition(".")[2] for name in meta.trusted_types if name.startswith("assets.")]
    if own:
        return kept(f"it holds types of its own ({', '.join(own)}), which ONNX does not know")
    if rows is None:
        return kept("the holdout it would be compared on is gone from the store")
    return convert(model.estimator, described(folder, about, ""), rows.holdout)


def _copy_server(code: Path) -> None:
    package = Path(mlops_pipelines.__file__).parent
    for source in (package / "__init__.py", *sorted((package / "serve").glob("*.py"))):
        target = code / package.name / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _copy_own_code(code: Path, registry: Registry, spec: ModelSpec, found: Version) -> None:
    """The model's own Python files as they were at training time."""
    try:
        own = registry.fetch(spec.name, found.version, "code")
    except NotFoundError:
        return
    files = sorted(own.glob("*.py"))
    if not files:
        return
    folder = code / "assets" / _folder(_trusted(found), {file.stem for file in files}, spec.name)
    folder.mkdir(parents=True)
    for source in files:
        shutil.copyfile(source, folder / source.name)


def _trusted(found: Version) -> list[str]:
    return [name for name in found.tags.get(record.TRUSTED_TYPES, "").split(",") if name]


def _folder(trusted: list[str], modules: set[str], model: str) -> str:
    """The folder below assets/ that the model file imports its own types from."""
    for name in trusted:
        top, *path = name.split(".")
        place = next((i for i, part in enumerate(path) if i and part in modules), None)
        if top == "assets" and place is not None:
            return "/".join(path[:place])
    return model


def write_json(path: Path, value: Any) -> None:
    """Write a value so that equal values are equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
