"""An image that is another one with a layer more, given to the engine as an archive of that layer.

An engine that has the layers below does not ask for them again, so nothing is built and no
container is made. The format is the one of `docker save`:
https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.record import file_hash
from mlops_pipelines.release.images.archive import Archive, build_context
from mlops_pipelines.release.images.disk import scratch_folder
from mlops_pipelines.release.images.engine import build, find, told

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

logger = logging.getLogger(__name__)


def with_layer(
    client: docker.DockerClient, below: Image, layer: Path, tag: str, labels: Mapping[str, str]
) -> Image:
    """The image `below` with the files of the tar `layer` over it, as `tag`, with `labels` too.

    Where the engine wants all layers of what it is given, it builds the image. Raises TargetError.
    """
    with scratch_folder() as scratch:
        try:
            with (scratch / "image.tar").open("w+b") as stream:
                _save(stream, below, layer, tag, labels)
                return _loaded(client, stream, tag)
        except TargetError as error:
            if "disk is full" in str(error):
                raise
            logger.info("%s is built, since the engine takes no single layer: %s", tag, error)
        with (scratch / "context.tar").open("w+b") as stream:
            dockerfile = f"FROM {below.id}\nADD version.tar /\n"
            build_context(stream, dockerfile, {"version.tar": layer})
            return build(client, stream, tag, labels)


def _save(
    stream: IO[bytes], below: Image, layer: Path, tag: str, labels: Mapping[str, str]
) -> None:
    attrs = below.attrs
    layers: list[str] = attrs["RootFS"]["Layers"]
    config: dict[str, Any] = attrs["Config"]
    made = datetime.now(UTC).isoformat()
    said = {
        "architecture": attrs["Architecture"],
        "os": attrs["Os"],
        **({"variant": attrs["Variant"]} if attrs.get("Variant") else {}),
        "created": made,
        "config": {**config, "Labels": {**(config.get("Labels") or {}), **labels}},
        "rootfs": {"type": "layers", "diff_ids": [*layers, f"sha256:{file_hash(layer)}"]},
        "history": [
            *({"created": attrs["Created"], "created_by": f"layer of {below.id}"} for _ in layers),
            {"created": made, "created_by": f"ADD {tag}"},
        ],
    }
    listed = {
        "Config": "config.json",
        "RepoTags": [tag],
        # Those that the engine has are not looked for.
        "Layers": [*(f"{each.rpartition(':')[2]}.tar" for each in layers), "layer.tar"],
    }
    archive = Archive(stream)
    archive.file("manifest.json", json.dumps([listed]).encode())
    archive.file("config.json", json.dumps(said).encode())
    archive.file("layer.tar", layer)
    archive.close()
    stream.seek(0)


def _loaded(client: docker.DockerClient, stream: IO[bytes], tag: str) -> Image:
    with told(f"loading {tag}"):
        client.images.load(stream)
    found = find(client, tag)
    if found is None:
        raise TargetError(f"the Docker engine loaded {tag} and does not have it")
    return found
