"""What of a version must never change: its facts, sealed by one hash when it is registered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

Facts = dict[str, dict[str, str]]
"""By group (version, tags, params, metrics, files, snapshot), then by name."""

FACTS = "facts.json"
"""Artifact of a version: its facts as they were sealed."""
RECORD = "mlops.record_digest"
"""Tag of a version: the SHA-256 of facts.json."""

TAGS = (
    record.MODEL,
    record.TASK,
    record.SNAPSHOT,
    record.PARENT_VERSION,
    record.GIT_COMMIT,
    record.GIT_DIRTY,
    record.LOCK_HASH,
    record.PYTHON,
    record.DAGSTER_RUN,
    record.TRUSTED_TYPES,
)
"""The tags that a version and its run get when it is registered, and keep."""
ARTIFACTS = (
    "code",
    "declaration.yaml",
    "environment.json",
    "estimator.json",
    "expectations.json",
    "golden.json",
    "model",
    "pictures",
    "profile.json",
    "reference.npz",
    "snapshot.json",
    "suite.json",
)
"""The files and folders that MLflow gets when a version is registered."""
SEALED_LATER = ("estimator.json",)
"""Those of them that facts from before did not name, though the version had them."""


def seal(registry: Registry, store: Store, model: str, version: int) -> str:
    """Write down the facts of a version, and their hash as its tag; a sealed one stays as it is.

    Raises NotFoundError, TrackingError, StoreError.
    """
    from mlops_pipelines.train.kept import keep

    found = registry.version(model, version)
    sealed = found.tags.get(RECORD, "")
    if sealed:
        return sealed
    facts = read_facts(registry, store, model, version)
    keep(registry, model, version, {FACTS: canonical(facts)})
    # Tagged last: a version that names its facts has them.
    digest = record_digest(facts)
    registry.tag(model, version, {RECORD: digest})
    return digest


def read_facts(registry: Registry, store: Store, model: str, version: int) -> Facts:
    """The facts of a version as they are now: what is gone is left out, files are hashed.

    Raises NotFoundError where there is no such version, TrackingError, StoreError.
    """
    found = registry.version(model, version)
    return {
        "version": {
            "model": found.model,
            "version": str(found.version),
            "run_id": found.run_id,
            "created": found.created.isoformat(),
        },
        "tags": {name: found.tags.get(name, "") for name in TAGS},
        "params": dict(found.params),
        # The others are of the machine, and are sampled while it still works.
        "metrics": {n: repr(float(v)) for n, v in found.metrics.items() if "/" not in n},
        "files": _files(registry, model, version),
        "snapshot": _snapshot(store, model, found.tags.get(record.SNAPSHOT, "")),
    }


def record_digest(facts: Mapping[str, Mapping[str, str]]) -> str:
    """The SHA-256 of facts as canonical JSON: sorted names, no blanks, UTF-8."""
    return hashlib.sha256(canonical(facts)).hexdigest()


def canonical(facts: Mapping[str, Mapping[str, str]]) -> bytes:
    """Facts as the bytes that are hashed and kept."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _files(registry: Registry, model: str, version: int) -> dict[str, str]:
    hashes = {}
    for name in ARTIFACTS:
        try:
            found = registry.fetch(model, version, name)
        except NotFoundError:
            continue
        for path in sorted(found.rglob("*")) if found.is_dir() else [found]:
            if path.is_file():
                inside = path.relative_to(found).as_posix() if path != found else ""
                hashes[f"{name}/{inside}".rstrip("/")] = record.file_hash(path)
    return hashes


def _snapshot(store: Store, model: str, digest: str) -> dict[str, str]:
    hashes = {}
    for name in ("data.parquet", "snapshot.json"):
        try:
            content = store.read_bytes(f"snapshots/{model}/{digest}/{name}")
        except NotFoundError:
            continue
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes
