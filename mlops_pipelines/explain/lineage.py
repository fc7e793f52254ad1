"""Everything behind a version: data, code, environment, metrics, gates, deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import MlopsError, NotFoundError, ReleaseError
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version


@dataclass(frozen=True)
class Deployed:
    """One time that a version was put in front of the traffic."""

    version: int
    at: str
    action: str
    actor: str
    reason: str
    run_id: str


@dataclass(frozen=True)
class Proof:
    """One recorded hash, recomputed from the thing itself."""

    thing: str
    recorded: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether the thing is what the record says."""
        return self.recorded == self.found


def lineage(
    registry: Registry, store: Store, model: str, version: int, deployed: Sequence[Deployed]
) -> dict[str, Any]:
    """What is behind `version` of `model`, as JSON values; raises NotFoundError."""
    from mlops_pipelines.train.snapshot import load_snapshot

    found = registry.version(model, version)
    tags = found.tags
    snapshot = load_snapshot(store, model, tags[record.SNAPSHOT])
    return {
        "model": model,
        "version": version,
        "created": found.created.isoformat(timespec="seconds"),
        "aliases": list(found.aliases),
        "parent_version": _number(tags.get(record.PARENT_VERSION)),
        "data": {
            "snapshot": snapshot.digest,
            "source": snapshot.source,
            "rows": snapshot.rows,
            "train_rows": snapshot.train_rows,
            "holdout_rows": snapshot.holdout_rows,
            "features": [column.name for column in snapshot.columns],
            "first_time": snapshot.first_time,
            "last_time": snapshot.last_time,
            "uri": store.uri(snapshot.key),
        },
        "code": {
            "git_commit": tags.get(record.GIT_COMMIT, ""),
            "git_dirty": tags.get(record.GIT_DIRTY, ""),
        },
        "environment": {
            "lock_hash": tags.get(record.LOCK_HASH, ""),
            "python": tags.get(record.PYTHON, ""),
        },
        "runs": {"mlflow": found.run_id, "dagster": tags.get(record.DAGSTER_RUN, "")},
        "params": dict(found.params),
        "metrics": {
            name: value for name, value in sorted(found.metrics.items()) if "/" not in name
        },
        "gates": tags.get(record.GATES, "not evaluated"),
        "bundle": tags.get(record.BUNDLE, ""),
        "quarantined": tags.get(record.QUARANTINED, ""),
        "deployments": [vars(each) for each in deployed if each.version == version],
    }


def verify(
    registry: Registry, store: Store, root: Path, model: str, version: int
) -> tuple[Proof, ...]:
    """Recompute what the record names: the snapshot's rows, the bundle's files, the lock file."""
    from mlops_pipelines.train.snapshot import load_snapshot, recompute_digest

    found = registry.version(model, version)
    digest = found.tags[record.SNAPSHOT]
    proofs = [
        Proof(
            "snapshot",
            digest,
            _or_error(lambda: recompute_digest(store, load_snapshot(store, model, digest))),
        )
    ]
    if found.tags.get(record.BUNDLE):
        proofs.append(
            Proof(
                "bundle",
                found.tags[record.BUNDLE],
                _or_error(lambda: _bundle_digest(registry, store, model, version)),
            )
        )
    lock = root / "requirements.lock"
    if lock.exists():
        # A newer lock is not a fault of the record, so it is only shown, as `found`.
        proofs.append(
            Proof("lock file", found.tags.get(record.LOCK_HASH, ""), record.file_hash(lock))
        )
    return tuple(proofs)


def newest(registry: Registry, model: str) -> int:
    """The version that serves, else the newest; raises NotFoundError where there is none."""
    champion = registry.champion(model)
    if champion is not None:
        return champion
    versions = registry.versions(model)
    if not versions:
        raise NotFoundError(f"{model} has no version yet; train it with: mlops train {model}")
    return versions[0].version


def history(versions: Sequence[Version], deployed: Sequence[Deployed]) -> list[dict[str, Any]]:
    """One row per version, oldest first: its gates, when it was deployed, why rolled back."""
    rows = []
    for version in sorted(versions, key=lambda each: each.version):
        times = [each for each in deployed if each.version == version.version]
        rows.append(
            {
                "version": version.version,
                "metrics": dict(version.metrics),
                "gates": version.tags.get(record.GATES, "not evaluated"),
                "deployed": times[0].at if times else "",
                "rolled_back": version.tags.get(record.QUARANTINED, ""),
                "aliases": list(version.aliases),
            }
        )
    return rows


def _bundle_digest(registry: Registry, store: Store, model: str, version: int) -> str:
    from mlops_pipelines.release.bundle import bundle_of
    from mlops_pipelines.serve.bundle import BundleError, read_bundle

    try:
        return read_bundle(bundle_of(registry, store, model, version), verify=True).digest
    except BundleError as error:
        raise ReleaseError(str(error)) from error


def _or_error(recompute: Any) -> str:
    try:
        return str(recompute())
    except (MlopsError, OSError, ValueError) as error:
        return f"cannot be recomputed: {error}"


def _number(text: Mapping[str, str] | str | None) -> int | None:
    return int(text) if isinstance(text, str) and text else None
