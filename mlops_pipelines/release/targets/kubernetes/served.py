"""One version as a cluster knows it: the names, labels and annotations of its objects."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines.environment import KubernetesTarget
from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.version_image import image_tag
from mlops_pipelines.release_spec import Release
from mlops_pipelines.serve.bundle import BundleError, read_bundle, read_json

MANAGER = "mlops-pipelines"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
VERSION = "app.kubernetes.io/version"
MANAGED_BY = "app.kubernetes.io/managed-by"
BUNDLE = f"{MANAGER}/bundle"

LONGEST_NAME = 28
"""Of a model: with version, digest and what a cluster adds, a pod's name stays a host name (63
characters). A longer one would be cut, and the prediction log names its writers by it."""

LINEAGE = ("snapshot", "run_id", "git_commit", "git_dirty", "lock_hash", "python")


@dataclass(frozen=True)
class Served:
    """A version of a model, the image it runs in, and what its declaration says of releases.

    `lineage` is what leads from its bundle to the other books.
    """

    model: str
    version: int
    digest: str
    image: str
    lineage: Mapping[str, str]
    release: Release

    @property
    def name(self) -> str:
        """Of the model's Service."""
        return dns_name(self.model)

    @property
    def instance(self) -> str:
        """Of all other objects: one set for each bundle, which is never changed in place."""
        return f"{self.name}-v{self.version}-{self.digest[:8]}"

    @property
    def selector(self) -> dict[str, str]:
        """The labels that this version's pods, and no others, have."""
        return {NAME: self.name, INSTANCE: self.instance, VERSION: str(self.version)}

    @property
    def labels(self) -> dict[str, str]:
        """Of every object of this version."""
        component = {"app.kubernetes.io/component": "model", MANAGED_BY: MANAGER}
        return {**self.selector, **component}

    @property
    def annotations(self) -> dict[str, str]:
        """The lineage, as no label could hold it."""
        said = {"model": self.model, "version": str(self.version), **self.lineage}
        return {BUNDLE: self.digest} | {f"{MANAGER}/{key}": said[key] for key in said if said[key]}


def of_model(model: str) -> dict[str, str]:
    """The labels of everything that belongs to `model`, whatever its version."""
    return {NAME: dns_name(model), MANAGED_BY: MANAGER}


def served(bundle: Path, settings: KubernetesTarget, release: Release) -> Served:
    """The bundle in the folder `bundle`, to be run as `release` says.

    Raises TargetError where it cannot be read.
    """
    try:
        about = read_bundle(bundle)
        said = read_json(bundle, "bundle.json")
    except BundleError as error:
        raise TargetError(f"the bundle is refused: {error}") from error
    return Served(
        model=about.model,
        version=about.version,
        digest=about.digest,
        image=image_name(settings.repository, about.model, about.version, about.digest),
        lineage={key: str(said.get(key, "")) for key in LINEAGE},
        release=release,
    )


def image_name(repository: str, model: str, version: int, digest: str) -> str:
    """Where the cluster pulls the image of a bundle from."""
    return f"{repository.rstrip('/')}/{image_tag(model, version, digest).removeprefix('mlops/')}"


def dns_name(model: str) -> str:
    """`model` as the name of a Service (RFC 1035 label); two models never share one.

    What does not fit (a long name, an underscore at its end) is told apart by a hash.
    """
    name = model.replace("_", "-")
    if len(name) <= LONGEST_NAME and not name.endswith("-"):
        return name
    told_apart = hashlib.sha256(model.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{told_apart}"
