"""Whether a version's image still says of itself what the version's record says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.explain.proof import ABSENT, Proof
from mlops_pipelines.release.images.engine import find
from mlops_pipelines.release.images.labels import lineage_labels
from mlops_pipelines.release.images.version_image import image_tag

if TYPE_CHECKING:
    import docker

    from mlops_pipelines.train.registry import Version


def verify_image(client: docker.DockerClient, version: Version) -> Iterator[Proof]:
    """The image on record beside the one that has its name now, and each label that differs.

    A changed label makes another image, so both are found. Nothing for a version without an image.
    Raises TargetError where the engine does not answer.
    """
    digest = version.tags.get(record.IMAGE, "")
    if not digest:
        return
    bundle = version.tags.get(record.BUNDLE, "")
    image = find(client, image_tag(version.model, version.version, bundle)) or find(client, digest)
    yield Proof("image", digest, ABSENT if image is None else str(image.id))
    if image is None:
        return
    for name, value in lineage_labels(version.tags).items():
        found = image.labels.get(name, ABSENT)
        if found != value:
            yield Proof(f"image label {name}", value, found)
