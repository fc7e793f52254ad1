"""The content-addressed folder that is served: what is evaluated is what is served."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlops_pipelines
from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.release.lock import serving_lock
from mlops_pipelines.serve.bundle import NEVER_CONVERTED, SCHEMA, Runtime, described, read_bundle
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.release.convert import Conversion
    from mlops_pipelines.serve.predictor import Predictor
    from mlops_pipelines.train.registry import Registry, Version


@dataclass(frozen=True)
class Bundle:
    """A version's bundle: `key` in the store, `folder` here; `built` just now, or before.

    `runtime` is what serves it, and why.
    """

    model: str
    version: int
    digest: str
    key: str
    size_bytes: int
    folder: Path
    built: bool
    runtime: Runtime


def build_bundle(
    registry: Registry, store: Store, root: Path, spec: ModelSpec, version: int
) -> Bundle:
    """The bundle of this version, built where the store does not have it yet.

    The same version gives the same digest, which its MLflow tags then name. Raises NotFoundError,
    StoreError, TrackingError.
    """
    found = registry.version(spec.name, version)
    recorded = found.tags.get(record.BUNDLE, "")
    if recorded and store.exists(f"{bundle_key(spec.name, recorded)}/manifest.json"):
        return _described(store, spec.name, version, recorded, built=False)
    with tempfile.TemporaryDirectory(prefix="mlops-bundle-") as scratch:
        folder = Path(scratch)
        _fill(folder, registry, store, root, spec, found)
        digest = _write_manifest(folder)
        store.put_folder(bundle_key(spec.name, digest), folder)
    # Tagged last: a version that names a bundle has it whole.
    registry.tag(spec.name, version, {record.BUNDLE: digest})
    return _described(store, spec.name, version, digest, built=True)


def open_bundle(store: Store, model: str, digest: str) -> Path:
    """The folder of a bundle on this machine; raises NotFoundError."""
    return store.local_folder(bundle_key(model, digest))


def bundle_of(registry: Registry, store: Store, model: str, version: int) -> Path:
    """The folder of a version's bundle; raises ReleaseError where it has none."""
    digest = registry.version(model, version).tags.get(record.BUNDLE, "")
    try:
        if digest:
            return open_bundle(store, model, digest)
    except NotFoundError as error:
        raise ReleaseError(
            f"{model} version {version}: its bundle {digest[:12]} is gone from the store "
            f"{store.shown}; materialize image for this version to build it again"
        ) from error
    raise ReleaseError(
        f"{model} version {version} has no bundle; materialize evaluation and image for it first"
    )


def open_predictor(registry: Registry, store: Store, model: str, version: int) -> Predictor:
    """The model of a version's bundle, loaded in this process; raises ReleaseError."""
    from mlops_pipelines.serve.predictor import BundleError, Predictor

    try:
        return Predictor.load(bundle_of(registry, store, model, version))
    except BundleError as error:
        raise ReleaseError(f"{model} version {version} cannot be loaded: {error}") from error


def bundle_key(model: str, digest: str) -> str:
    """Where a bundle lies in the store."""
    return f"bundles/{model}/{digest[:16]}"


def _fill(
    folder: Path, registry: Registry, store: Store, root: Path, spec: ModelSpec, found: Version
) -> None:
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
        "trusted_types": list[str](),
        "runtime": asdict(NEVER_CONVERTED),
        "run_id": found.run_id,
        "snapshot": snapshot["digest"],
        "git_commit": found.tags.get(record.GIT_COMMIT, ""),
        "git_dirty": found.tags.get(record.GIT_DIRTY, ""),
        "lock_hash": found.tags.get(record.LOCK_HASH, ""),
        "python": found.tags.get(record.PYTHON, ""),
    }
    model_file = artifact("model/model.skops")
    conversion = _converted(model_file, about, store, spec, found)
    about["runtime"] = asdict(conversion.runtime)
    _copy_server(folder / "code")
    if conversion.graph is not None:
        (folder / "model.onnx").write_bytes(conversion.graph)
    else:
        # Nothing of scikit-learn's is loaded for a graph, nor the code behind it.
        about["trusted_types"] = _trusted(found)
        shutil.copyfile(model_file, folder / "model.skops")
        _copy_own_code(folder / "code", registry, spec, found)
    lock = serving_lock(root, conversion.runtime.name)
    (folder / "requirements.lock").write_text(lock, "utf-8")
    _write_json(folder / "bundle.json", about)


def _converted(
    model_file: Path, about: dict[str, Any], store: Store, spec: ModelSpec, found: Version
) -> Conversion:
    """What is to serve this version; a model that cannot be converted is no error."""
    import skops.io

    from mlops_pipelines.release.convert import convert, kept
    from mlops_pipelines.train.snapshot import load_snapshot, read_rows

    if spec.release.runtime == "scikit-learn":
        return kept("the declaration says so (release.runtime)")
    trusted = _trusted(found)
    own = [name.rpartition(".")[2] for name in trusted if name.startswith("assets.")]
    if own:
        return kept(f"it holds types of its own ({', '.join(own)}), which ONNX does not know")
    try:
        snapshot = load_snapshot(store, spec.name, about["snapshot"])
        holdout = read_rows(store, snapshot).holdout
    except NotFoundError:
        return kept("the holdout it would be compared on is gone from the store")
    estimator = skops.io.load(model_file, trusted=trusted)
    return convert(estimator, described(model_file.parent, about, ""), holdout)


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


def _write_manifest(folder: Path) -> str:
    files = {
        path.relative_to(folder).as_posix(): record.file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    listed = json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    _write_json(folder / "manifest.json", {"files": files, "digest": digest})
    return digest


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def _described(store: Store, model: str, version: int, digest: str, built: bool) -> Bundle:
    folder = open_bundle(store, model, digest)
    size = sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    runtime = read_bundle(folder).runtime
    return Bundle(model, version, digest, bundle_key(model, digest), size, folder, built, runtime)
