"""Recomputes the hashes of a version's bundle and bill of materials, and checks signatures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import MlopsError
from mlops_pipelines.explain.proof import (
    ABSENT,
    Proof,
    artifact,
    compared,
    listing,
    one_line,
    sha256,
)
from mlops_pipelines.store import Store
from mlops_pipelines.train.facts import RECORD

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

SAID = ("run_id", "snapshot", "git_commit", "git_dirty", "lock_hash", "python")
"""What bundle.json says of its version besides model and number."""


def bundle(store: Store, version: Version) -> Iterator[Proof]:
    """The bundle in the store: its list, its files, what it says of its version, its signature."""
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
        yield Proof("bundle", digest, f"cannot be recomputed: {one_line(error)}")
        return
    found = {name: sha256(each) for name, each in content.items() if name != SIGNATURE}
    yield Proof("bundle", digest, listing(files))
    # The digest is of the list alone, and another byte of its file must not pass either.
    whole = sha256(_as_written({"files": files, "digest": digest}))
    yield from compared("bundle file", {**files, "manifest.json": whole}, found)
    yield from compared("bundle.json", _recorded(version), _stated(said))
    yield from _signature("signature", content.get(SIGNATURE), found)


def bill_of_materials(registry: Registry, version: Version) -> Iterator[Proof]:
    """The bill of materials in MLflow: its bytes, the digests it names, its signature."""
    from mlops_pipelines.release.bill_of_materials import (
        BOM_FILE,
        BUNDLE_PROPERTY,
        RECORD_PROPERTY,
    )

    digest = version.tags.get(record.BOM, "")
    content = artifact(registry, version, BOM_FILE)
    if not digest and content is None:
        return
    thing = "bill of materials"
    yield Proof(thing, digest or ABSENT, ABSENT if content is None else sha256(content))
    if content is None:
        return
    try:
        component = json.loads(content)["metadata"]["component"]
        said = {each["name"]: each["value"] for each in component["properties"]}
    except (ValueError, KeyError, TypeError) as error:
        yield Proof(f"{thing}: its content", "CycloneDX", f"unreadable: {one_line(error)}")
    else:
        names = {BUNDLE_PROPERTY: record.BUNDLE, RECORD_PROPERTY: RECORD}
        yield from compared(
            f"{thing} says",
            {tag: said.get(name, "") for name, tag in names.items()},
            {tag: version.tags.get(tag, "") for tag in names.values()},
        )
    signature = artifact(registry, version, f"{BOM_FILE}.sig")
    yield from _signature(f"{thing} signature", signature, {".": sha256(content)})


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
    yield from compared(thing, signed, found)


def _recorded(version: Version) -> dict[str, str]:
    tags = version.tags
    of_tags = {name: tags.get(f"mlops.{name}", "") for name in SAID if name != "run_id"}
    number = str(version.version)
    return {**of_tags, "model": version.model, "version": number, "run_id": version.run_id}


def _stated(said: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(said.get(name, "")) for name in ("model", "version", *SAID)}


def _as_written(manifest: Mapping[str, Any]) -> bytes:
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()
