"""The image of one version: its bundle, on the runtime that its lock file asks for."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.archive import Archive
from mlops_pipelines.release.images.disk import scratch_folder
from mlops_pipelines.release.images.engine import find
from mlops_pipelines.release.images.layer import with_layer
from mlops_pipelines.release.images.runtime_image import (
    RuntimeImage,
    read_runtime,
    runtime_image,
    runtime_tag,
)
from mlops_pipelines.serve.bundle import Bundle, BundleError, read_bundle, read_json

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

RUNTIME = "mlops.runtime_image"
EXTRAS = "mlops.extras"
"""Labels: the tag of the image below, and a digest of what lies beside the bundle."""
OCI = "org.opencontainers.image"
BASE_NAME = f"{OCI}.base.name"
BASE_DIGEST = f"{OCI}.base.digest"
SAID = ("task", "snapshot", "git_commit", "git_dirty", "lock_hash", "python")
"""What bundle.json says of a version's lineage, under record.py's names without `mlops.`."""


@dataclass(frozen=True)
class VersionImage:
    """A version's image: `own_bytes` are those of its own layers, `layers` each with its bytes.

    `runtime` is the tag of the image below it; `built` just now in `seconds`, or found.
    """

    id: str
    tag: str
    size_bytes: int
    own_bytes: int
    layers: tuple[tuple[str, int], ...]
    runtime: str
    seconds: float
    built: bool


def build_version_image(
    client: docker.DockerClient,
    bundle: Path,
    base_image: str,
    wheelhouse: Path,
    labels: Mapping[str, str],
    extras: Mapping[str, bytes] = {},
) -> VersionImage:
    """The image of the bundle in the folder `bundle`, with `extras` beside it by their paths.

    What the bundle itself says of its lineage becomes labels too. Where the engine has one of the
    same bundle, base image, `labels` and `extras`, that is it; whoever gives none takes any. Raises
    TargetError.
    """
    started = time.monotonic()
    try:
        about = read_bundle(bundle, verify=True)
        said = read_json(bundle, "bundle.json")
    except BundleError as error:
        raise TargetError(f"no image is made of a bundle that is refused: {error}") from error
    lock = (bundle / "requirements.lock").read_text("utf-8")
    tag = image_tag(about.model, about.version, about.digest)
    wanted = {**labels, record.BUNDLE: about.digest}
    wanted |= {EXTRAS: _digest(extras)} if extras else {}
    found = find(client, tag)
    runtime = _runtime_below(client, found, base_image, lock, wanted) if found else None
    built = runtime is None
    if found is None or runtime is None:
        runtime = runtime_image(client, lock, base_image, wheelhouse)
        every = {**_labels(about, said, runtime, labels), **wanted}
        found = _build(client, bundle, tag, runtime, every, extras)
    size = int(found.attrs["Size"])
    return VersionImage(
        id=str(found.id),
        tag=tag,
        size_bytes=size,
        own_bytes=size - runtime.size_bytes,
        layers=(
            (f"base: {runtime.base}", runtime.size_bytes - runtime.own_bytes),
            (f"runtime: {runtime.tag}", runtime.own_bytes),
            (f"bundle {about.digest[:12]}", size - runtime.size_bytes),
        ),
        runtime=runtime.tag,
        seconds=round(time.monotonic() - started, 3),
        built=built,
    )


def _runtime_below(
    client: docker.DockerClient, found: Image, base: str, lock: str, wanted: Mapping[str, str]
) -> RuntimeImage | None:
    """The runtime that the image `found` stands on; None where that is not what is wanted.

    The base image may be gone meanwhile, but not be another one.
    """
    labels = found.labels
    there = find(client, base)
    same = labels.get(BASE_NAME) == base if there is None else there.id == labels.get(BASE_DIGEST)
    tag = runtime_tag(lock, labels.get(BASE_DIGEST, ""))
    if not same or tag != labels.get(RUNTIME):
        return None
    if any(labels.get(name) != value for name, value in wanted.items()):
        return None
    runtime = find(client, tag)
    return read_runtime(runtime, tag, base) if runtime else None


def _labels(
    about: Bundle, said: Mapping[str, Any], runtime: RuntimeImage, given: Mapping[str, str]
) -> dict[str, str]:
    lineage = {f"mlops.{name}": str(said.get(name, "")) for name in SAID} | {**given}
    return {
        f"{OCI}.title": about.model,
        f"{OCI}.version": str(about.version),
        f"{OCI}.revision": lineage.get(record.GIT_COMMIT, ""),
        f"{OCI}.description": f"Answers as version {about.version} of {about.model}",
        BASE_NAME: runtime.base,
        BASE_DIGEST: runtime.base_id,
        RUNTIME: runtime.tag,
        record.MODEL: about.model,
        record.VERSION: str(about.version),
        **lineage,
    }


def _build(
    client: docker.DockerClient,
    bundle: Path,
    tag: str,
    runtime: RuntimeImage,
    labels: Mapping[str, str],
    extras: Mapping[str, bytes],
) -> Image:
    below = find(client, runtime.id)
    if below is None:
        raise TargetError(f"the runtime image {runtime.tag} is gone from the engine; ask again")
    with scratch_folder() as scratch:
        layer = scratch / "version.tar"
        with layer.open("wb") as stream:
            archive = Archive(stream)
            archive.tree("bundle", bundle, without="__pycache__")
            for name, content in sorted(extras.items()):
                archive.file(name.lstrip("/"), content)
            archive.close()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return with_layer(client, below, layer, tag, {**labels, f"{OCI}.created": now})


def image_tag(model: str, version: int, bundle: str) -> str:
    """The name of the image of the bundle with the digest `bundle`.

    In an image's name underscores stand alone, and between letters.
    """
    repository = re.sub(r"_+", "_", model).strip("_")
    return f"mlops/{repository}:{version}-{bundle[:12]}"


def _digest(extras: Mapping[str, bytes]) -> str:
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in extras.items()}
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
