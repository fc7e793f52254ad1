"""Recomputes every hash that is on record for a version, from the things themselves."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import MlopsError, NotFoundError
from mlops_pipelines.store import Store
from mlops_pipelines.train.facts import FACTS, RECORD, TAGS, Facts, read_facts

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

ABSENT = "absent"
SAID = ("run_id", "snapshot", "git_commit", "git_dirty", "lock_hash", "python")
"""What bundle.json says of its version besides model and number."""


@dataclass(frozen=True)
class Proof:
    """One recorded hash (or value), beside what was found; `thing` names it."""

    thing: str
    recorded: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether the thing is what the record says."""
        return self.recorded == self.found


def verify(
    registry: Registry, store: Store, root: Path, model: str, version: int
) -> tuple[Proof, ...]:
    """Recompute what is on record for a version; one proof per kind, or per thing that differs.

    Rows and files of the snapshot, the entry and the files in MLflow, the files of the bundle, the
    bill of materials and, with MLOPS_VERIFY_KEY, the signatures. Raises NotFoundError where there
    is no such version, TrackingError.
    """
    found = registry.version(model, version)
    return (
        *_snapshot(store, found),
        *_record(registry, store, found),
        *_bundle(store, found),
        *_bill_of_materials(registry, found),
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
        yield Proof("image", digest, f"cannot be looked at: {_one_line(error)}")


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
    content = _artifact(registry, version, FACTS)
    if not digest and content is None:
        return
    yield Proof("record", digest or ABSENT, ABSENT if content is None else _sha256(content))
    if content is None or _sha256(content) != digest:
        return
    sealed: Facts = json.loads(content)
    now = read_facts(registry, store, version.model, version.version)
    yield from _compared("snapshot file", sealed["snapshot"], now["snapshot"])
    for group, thing in (("version", "version"), ("params", "parameter"), ("metrics", "metric")):
        yield from _compared(thing, sealed[group], now[group])
    for thing, tags in _tags(registry, version).items():
        kept = {name: tags.get(name, "") for name in TAGS}
        yield from _compared(thing, sealed["tags"], kept)
    yield from _compared("MLflow file", sealed["files"], now["files"])


def _tags(registry: Registry, version: Version) -> dict[str, Mapping[str, str]]:
    """Both places where MLflow keeps a version's tags: either may have been changed alone."""
    from mlops_pipelines.train.tracking import connect, told

    client = connect(registry.tracking_uri)
    with told(registry.tracking_uri, f"reading the tags of {version.model}"):
        return {
            "tag": client.get_model_version(version.model, str(version.version)).tags,
            "tag of the run": client.get_run(version.run_id).data.tags,
        }


def _bundle(store: Store, version: Version) -> Iterator[Proof]:
    from mlops_pipelines.release.bundle import bundle_key
    from mlops_pipelines.serve.verify import SIGNATURE

    digest = version.tags.get(record.BUNDLE, "")
    if not digest:
        return
    key = bundle_key(version.model, digest)
    try:
        content = {
            name.removeprefix(f"{key}/"): store.read_bytes(name)
            for name in store.keys(key)
            if "__pycache__" not in name.split("/")
        }
        manifest = json.loads(content["manifest.json"])
        said = json.loads(content["bundle.json"])
        files: dict[str, str] = dict(manifest["files"])
    except (MlopsError, OSError, ValueError, KeyError, TypeError) as error:
        yield Proof("bundle", digest, f"cannot be recomputed: {_one_line(error)}")
        return
    found = {name: _sha256(each) for name, each in content.items() if name != SIGNATURE}
    yield Proof("bundle", digest, _listing(files))
    # The digest is of the list alone, and another byte of its file must not pass either.
    whole = _sha256(_as_written({"files": files, "digest": digest}))
    yield from _compared("bundle file", {**files, "manifest.json": whole}, found)
    yield from _compared("bundle.json", _recorded(version), _stated(said))
    yield from _signature("signature", content.get(SIGNATURE), found)


def _bill_of_materials(registry: Registry, version: Version) -> Iterator[Proof]:
    from mlops_pipelines.release.bill_of_materials import (
        BOM,
        BOM_FILE,
        BUNDLE_PROPERTY,
        RECORD_PROPERTY,
    )

    digest = version.tags.get(BOM, "")
    content = _artifact(registry, version, BOM_FILE)
    if not digest and content is None:
        return
    thing = "bill of materials"
    yield Proof(thing, digest or ABSENT, ABSENT if content is None else _sha256(content))
    if content is None:
        return
    try:
        component = json.loads(content)["metadata"]["component"]
        said = {each["name"]: each["value"] for each in component["properties"]}
    except (ValueError, KeyError, TypeError) as error:
        yield Proof(f"{thing}: its content", "CycloneDX", f"unreadable: {_one_line(error)}")
        return
    names = {BUNDLE_PROPERTY: record.BUNDLE, RECORD_PROPERTY: RECORD}
    yield from _compared(
        f"{thing} says",
        {tag: said.get(name, "") for name, tag in names.items()},
        {tag: version.tags.get(tag, "") for tag in names.values()},
    )
    signature = _artifact(registry, version, f"{BOM_FILE}.sig")
    yield from _signature(f"{thing} signature", signature, {".": _sha256(content)})


def _signature(thing: str, signature: bytes | None, found: Mapping[str, str]) -> Iterator[Proof]:
    """Whether the signature is of MLOPS_VERIFY_KEY and vouches for these hashes; none without."""
    from mlops_pipelines.serve.bundle import BundleError
    from mlops_pipelines.serve.verify import VERIFY_KEY, public_key_of, signed_files

    key = os.environ.get(VERIFY_KEY, "")
    if not key:
        return
    if signature is None:
        yield Proof(thing, "signed", ABSENT)
        return
    try:
        signed = signed_files(signature, public_key_of(key))
    except BundleError as error:
        yield Proof(thing, "signed", str(error))
        return
    yield from _compared(thing, signed, found)


def _lock_file(root: Path, version: Version) -> Iterator[Proof]:
    lock = root / "requirements.lock"
    if lock.exists():
        # A newer lock is not a fault of the record, so it is only shown, as `found`.
        recorded = version.tags.get(record.LOCK_HASH, "")
        yield Proof("lock file", recorded, record.file_hash(lock))


def _compared(thing: str, recorded: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Proof]:
    """One proof where all agree, else one for each that was changed, added or taken away."""
    differing = [
        name
        for name in sorted(recorded.keys() | found.keys())
        if recorded.get(name) != found.get(name)
    ]
    if not differing:
        yield Proof(thing, _listing(recorded), _listing(found))
    for name in differing:
        yield Proof(f"{thing} {name}", recorded.get(name, ABSENT), found.get(name, ABSENT))


def _recorded(version: Version) -> dict[str, str]:
    tags = version.tags
    of_tags = {name: tags.get(f"mlops.{name}", "") for name in SAID if name != "run_id"}
    number = str(version.version)
    return {**of_tags, "model": version.model, "version": number, "run_id": version.run_id}


def _stated(said: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(said.get(name, "")) for name in ("model", "version", *SAID)}


def _artifact(registry: Registry, version: Version, name: str) -> bytes | None:
    try:
        return registry.fetch(version.model, version.version, name).read_bytes()
    except NotFoundError:
        return None


def _or_error(recompute: Callable[[], str]) -> str:
    try:
        return recompute()
    except (MlopsError, OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot be recomputed: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__


def _listing(files: Mapping[str, str]) -> str:
    """The digest of a list of names and hashes, as a bundle's manifest has it."""
    listed = json.dumps(dict(files), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _sha256(listed.encode())


def _as_written(manifest: Mapping[str, Any]) -> bytes:
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
