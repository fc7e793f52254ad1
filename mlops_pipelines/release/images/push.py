"""A version's image, brought to where a cluster pulls it from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.engine import reason_of, told

if TYPE_CHECKING:
    import docker


def push_image(client: docker.DockerClient, image: str, name: str) -> str:
    """Name the image with the id `image` as `name` (repository:tag) and push it there.

    Returns its digest in that registry. Raises TargetError where the registry refuses or is not
    reached.
    """
    repository, _, tag = name.rpartition(":")
    with told(f"naming {name}"):
        client.images.get(image).tag(repository, tag)
    digest = ""
    with told(f"pushing {name}"):
        for line in client.images.push(repository, tag, stream=True, decode=True):
            if "error" in line:
                raise TargetError(
                    f"{name} cannot be pushed: {reason_of(line['error'])}; log in with docker "
                    "login, or mend target.repository of the environment"
                )
            digest = line.get("aux", {}).get("Digest", digest)
    return digest
