"""Recomputes every hash that is on record for a version, from the things themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.errors import MlopsError, NotFoundError
from mlops_pipelines.explain.proof import ABSENT, Proof, artifact, compared, one_line, sha256
from mlops_pipelines.explain.verify_bundle import bill_of_materials, bundle
from mlops_pipelines.release.evaluation_record import EVALUATION
from mlops_pipelines.store import Store
from mlops_pipelines.train.facts import FACTS, RECORD, SEALED_LATER, TAGS, Facts, read_facts

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version


def verify(
    registry: Registry, store: Store, root: Path, model: str, version: int
) -> tuple[Proof, ...]:
    """Recompute what is on record for a version; one proof per kind, or per thing that differs.

    Rows and files of the snapshot, the entry and the files in MLflow, the published record, the
    alias of what serves, the files of the bundle, the bill of materials, the image's labels and,
    with MLOPS_VERIFY_KEY, the signatures. Raises NotFoundError where there is no such version,
    TrackingError.
    """
    found = registry.version(model, version)
    return (
        *_snapshot(store, found),
        *_record(registry, store, found),
        *_kept(registry, store, found),
        *_gates(registry, found),
        *_champion(registry, found),
        *bundle(store, found),
        *bill_of_materials(registry, found),
        *_image(found),
        *_lock_file(root, found),
    )


def _image(version: Version) -> Iterator[Proof]:
    from mlops_pipelines.explain.image_labels import verify_image
    from mlops_pipelines.release.images.engine import connect

    digest = version.tags.get(record.IMAGE, "")
    if not digest:
        return
    try:
        with closing(connect()) as client:
            yield from verify_image(client, version)
    except MlopsError as error:
        yield Proof("image", digest, f"cannot be looked at: {one_line(error)}")


def _snapshot(store: Store, version: Version) -> Iterator[Proof]:
    from mlops_pipelines.train.snapshot import load_snapshot, recompute_digest

    digest = version.tags.get(record.SNAPSHOT, "")
    yield Proof(
        "snapshot",
        digest,
        _or_error(lambda: recompute_digest(store, load_snapshot(store, version.model, digest))),
    )


def _record(registry: Registry, store: Store, version: Version) -> Iterator[Proof]:
    """The facts that were sealed at registration, beside those of today."""
    digest = version.tags.get(RECORD, "")
    content = artifact(registry, version, FACTS)
    if not digest and content is None:
        return
    yield Proof("record", digest or ABSENT, ABSENT if content is None else sha256(content))
    if content is None or sha256(content) != digest:
        return
    sealed: Facts = json.loads(content)
    now = read_facts(registry, store, version.model, version.version)
    yield from compared("snapshot file", sealed["snapshot"], now["snapshot"])
    for group, thing in (("version", "version"), ("params", "parameter"), ("metrics", "metric")):
        yield from compared(thing, sealed[group], now[group])
    for thing, tags in _tags(registry, version).items():
        kept = {name: tags.get(name, "") for name in TAGS}
        yield from compared(thing, sealed["tags"], kept)
    files = {n: h for n, h in now["files"].items() if n in sealed["files"] or n not in SEALED_LATER}
    yield from compared("MLflow file", sealed["files"], files)


def _kept(registry: Registry, store: Store, version: Version) -> Iterator[Proof]:
    """What was evaluated and published since: each file in MLflow, and the record in the store."""
    from mlops_pipelines.explain.publish import PAGE_FILE, RECORD_FILE, folder_of
    from mlops_pipelines.train.kept import hashes_kept

    hashes = hashes_kept(version.tags)
    if not hashes:
        return
    found = {name: artifact(registry, version, name) for name in hashes}
    yield from compared("file", hashes, {n: sha256(c) for n, c in found.items() if c is not None})
    published = {name: hashes[name] for name in (PAGE_FILE, RECORD_FILE) if name in hashes}
    if not published:
        return
    stored = {}
    for name in published:
        with suppress(NotFoundError):
            folder = folder_of(version.model, version.version)
            stored[name] = sha256(store.read_bytes(f"{folder}/{name}"))
    yield from compared("stored file", published, stored)


def _gates(registry: Registry, version: Version) -> Iterator[Proof]:
    """What the tag says of the gates, beside what the evaluation found."""
    tag = version.tags.get(record.GATES, "")
    content = artifact(registry, version, EVALUATION)
    if not tag or content is None:
        return
    with suppress(ValueError, KeyError, TypeError):
        said = json.loads(content)
        passed = all(each["passed"] for each in said["gates"])
        passed = passed and (said.get("shadow") or {}).get("passed", True)
        found = "passed" if tag == "passed" else "refused"
        yield Proof("gates", "passed" if passed else "refused", found)


def _champion(registry: Registry, version: Version) -> Iterator[Proof]:
    """Whether the alias names the version that took the traffic last, where this is one of both."""
    times = {
        each.version: each.tags[record.DEPLOYED_AT]
        for each in registry.versions(version.model)
        if record.DEPLOYED_AT in each.tags
    }
    if not times:
        return
    last, champion = max(times, key=lambda each: times[each]), registry.champion(version.model)
    if version.version in (last, champion):
        found = ABSENT if champion is None else f"version {champion}"
        yield Proof("alias champion", f"version {last}", found)


def _tags(registry: Registry, version: Version) -> dict[str, Mapping[str, str]]:
    """Both places where MLflow keeps a version's tags: either may have been changed alone."""
    from mlops_pipelines.train.tracking import connect, told

    client = connect(registry.tracking_uri)
    with told(registry.tracking_uri, f"reading the tags of {version.model}"):
        return {
            "tag": client.get_model_version(version.model, str(version.version)).tags,
            "tag of the run": client.get_run(version.run_id).data.tags,
        }


def _lock_file(root: Path, version: Version) -> Iterator[Proof]:
    lock = root / "requirements.lock"
    if lock.exists():
        # A newer lock is not a fault of the record, so it is only shown, as `found`.
        recorded = version.tags.get(record.LOCK_HASH, "")
        yield Proof("lock file", recorded, record.file_hash(lock))


def _or_error(recompute: Callable[[], str]) -> str:
    try:
        return recompute()
    except (MlopsError, OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot be recomputed: {one_line(error)}"
