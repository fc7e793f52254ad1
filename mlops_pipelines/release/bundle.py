"""The content-addressed folder that is served: what is evaluated is what is served."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.release.fill import fill, write_json
from mlops_pipelines.release.signing import check, sign, sign_stored
from mlops_pipelines.serve.bundle import Runtime, read_bundle
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
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
        sign_stored(store, bundle_key(spec.name, recorded), recorded)
        return _described(store, spec.name, version, recorded, built=False)
    with tempfile.TemporaryDirectory(prefix="mlops-bundle-") as scratch:
        folder = Path(scratch)
        fill(folder, registry, store, root, spec, found)
        digest = _write_manifest(folder)
        sign(folder)
        store.put_folder(bundle_key(spec.name, digest), folder)
    # Tagged last: a version that names a bundle has it whole.
    registry.tag(spec.name, version, {record.BUNDLE: digest})
    return _described(store, spec.name, version, digest, built=True)


def open_bundle(store: Store, model: str, digest: str) -> Path:
    """The folder of a bundle on this machine; raises NotFoundError."""
    return store.local_folder(bundle_key(model, digest))


def bundle_of(registry: Registry, store: Store, model: str, version: int) -> Path:
    """The folder of a version's bundle; raises ReleaseError where it has none."""
    return bundle_named(store, registry.version(model, version))


def bundle_named(store: Store, found: Version) -> Path:
    """The folder of the bundle that a version's tags name; raises ReleaseError where none is."""
    named = f"{found.model} version {found.version}"
    digest = found.tags.get(record.BUNDLE, "")
    try:
        if digest:
            return open_bundle(store, found.model, digest)
    except NotFoundError as error:
        raise ReleaseError(
            f"{named}: its bundle {digest[:12]} is gone from the store {store.shown}; materialize "
            "image for this version to build it again"
        ) from error
    raise ReleaseError(f"{named} has no bundle; materialize evaluation and image for it first")


def open_predictor(registry: Registry, store: Store, model: str, version: int) -> Predictor:
    """The model of a version's bundle, loaded in this process; raises ReleaseError."""
    from mlops_pipelines.serve.predictor import BundleError, Predictor

    try:
        folder = bundle_of(registry, store, model, version)
        check(folder)
        return Predictor.load(folder)
    except BundleError as error:
        raise ReleaseError(f"{model} version {version} cannot be loaded: {error}") from error


def bundle_key(model: str, digest: str) -> str:
    """Where a bundle lies in the store."""
    return f"bundles/{model}/{digest[:16]}"


def _write_manifest(folder: Path) -> str:
    files = {
        path.relative_to(folder).as_posix(): record.file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    listed = json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    write_json(folder / "manifest.json", {"files": files, "digest": digest})
    return digest


def _described(store: Store, model: str, version: int, digest: str, built: bool) -> Bundle:
    folder = open_bundle(store, model, digest)
    size = sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    runtime = read_bundle(folder).runtime
    return Bundle(model, version, digest, bundle_key(model, digest), size, folder, built, runtime)
