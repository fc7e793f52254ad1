"""The image of a registered version, as its environment wants it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.environment import DockerTarget, KubernetesTarget
from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.release.bill_of_materials import BOM_FILE
from mlops_pipelines.release.images.labels import lineage_labels
from mlops_pipelines.release.images.version_image import VersionImage, build_version_image

if TYPE_CHECKING:
    import docker

    from mlops_pipelines.train.registry import Registry

BASE_IMAGE = "BASE_IMAGE"
"""Environment variable that wins over the environment's `base_image`."""
BOM_IN_IMAGE = "/bill_of_materials.cdx.json"


def image_of_version(
    client: docker.DockerClient,
    registry: Registry,
    settings: DockerTarget | KubernetesTarget,
    home: Path,
    bundle: Path,
    model: str,
    version: int,
) -> VersionImage:
    """The image of this version's bundle, which its MLflow tag record.IMAGE then names.

    It carries the version's lineage as labels and its bill of materials, where it has one; wheels
    are kept under `home`. Raises TargetError, NotFoundError, TrackingError.
    """
    found = registry.version(model, version)
    try:
        bom = registry.fetch(model, version, BOM_FILE).read_bytes()
    except NotFoundError:
        bom = None
    image = build_version_image(
        client,
        bundle,
        base_name(settings),
        home / "wheelhouse",
        lineage_labels(found.tags),
        {BOM_IN_IMAGE: bom} if bom is not None else {},
    )
    registry.tag(model, version, {record.IMAGE: image.id})
    return image


def base_name(settings: DockerTarget | KubernetesTarget) -> str:
    """The base image that is in force."""
    return os.environ.get(BASE_IMAGE) or settings.base_image
