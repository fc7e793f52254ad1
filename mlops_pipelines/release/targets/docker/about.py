"""What a new replica of a bundle is: read from the bundle, with its image found or built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.engine import told
from mlops_pipelines.release.images.version_image import build_version_image, image_tag
from mlops_pipelines.release.signing import check
from mlops_pipelines.release.targets.docker.replicas import About
from mlops_pipelines.serve.bundle import Bundle, BundleError, read_bundle
from mlops_pipelines.serve.signature import Limits

if TYPE_CHECKING:
    import docker


def read(model: str, bundle: Path) -> Bundle:
    """What the bundle says of itself; raises TargetError where it is not what was built."""
    check(bundle)
    try:
        said = read_bundle(bundle)
    except BundleError as error:
        raise TargetError(f"the bundle is refused: {error}") from error
    if said.model != model:
        raise TargetError(f"{bundle} is a bundle of {said.model}, expected {model}")
    return said


def about(
    client: docker.DockerClient, model: str, bundle: Path, base_image: str, wheelhouse: Path
) -> About:
    """What a new replica of the bundle is, its image built where the engine lacks it.

    BASE_IMAGE in the environment wins over `base_image`. Raises TargetError.
    """
    said = read(model, bundle)
    limits = {"in_flight": Limits.in_flight, "connections": Limits.connections, **said.limits}
    image = _found(client, said)
    if image is None:
        base = os.environ.get("BASE_IMAGE") or base_image
        image = build_version_image(client, bundle, base, wheelhouse, {}).id
    return About(
        model=model,
        version=said.version,
        bundle=said.digest,
        image=image,
        # The gateway keeps what a worker would refuse, with room for health checks.
        most=max(1, int(0.9 * min(limits["in_flight"], limits["connections"]))),
    )


def _found(client: docker.DockerClient, said: Bundle) -> str | None:
    import docker

    tag = image_tag(said.model, said.version, said.digest)
    with told(f"looking for the image {tag}"):
        try:
            found = client.images.get(tag)
        except docker.errors.ImageNotFound:
            return None
    return str(found.id) if found.labels.get(record.BUNDLE) == said.digest else None
