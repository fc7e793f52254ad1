"""Where the containers live: their network, their user, and how this process reaches them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.engine import told
from mlops_pipelines.release.images.runtime_image import USER

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

NETWORK = "mlops.network"
"""Label of every container and network of an environment: the network's name."""


def ensure_network(client: docker.DockerClient, name: str) -> None:
    """Let there be the network; raises TargetError."""
    import docker

    with told(f"making the network {name}"):
        try:
            client.networks.get(name)
        except docker.errors.NotFound:
            client.networks.create(name, driver="bridge", labels={NETWORK: name})


def aliases(client: docker.DockerClient, network: str, name: str) -> dict[str, Any]:
    """Lets `name` lead to the container in the network, as to all others of that name there."""
    return {network: client.api.create_endpoint_config(aliases=[name])}


def image_named(client: docker.DockerClient, name: str, setting: str) -> Image:
    """The image, pulled where the engine has it not; raises TargetError naming the `setting`."""
    import docker
    import requests

    with told(f"looking for the image {name}"):
        try:
            return client.images.get(name)
        except docker.errors.ImageNotFound:
            try:
                return client.images.pull(name)
            except (docker.errors.APIError, requests.exceptions.RequestException) as error:
                raise TargetError(
                    f"the image {name} is not on the engine and cannot be pulled; name another in "
                    f"{setting} of resources/"
                ) from error


def owner(folder: Path) -> tuple[int, int]:
    """User and group that a container which writes to `folder` runs as: never root."""
    about = folder.stat()
    return (about.st_uid, about.st_gid) if about.st_uid else (USER, USER)


def writable(folder: Path) -> tuple[int, int]:
    """Make the folder, for a container to write to; returns the user and group it must run as."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        user = owner(folder)
        if os.getuid() == 0 and folder.stat().st_uid == 0:
            os.chown(folder, *user)
    except OSError as error:
        raise TargetError(
            f"{folder} cannot be made for the containers to write to: {error.strerror}"
        ) from error
    return user


def is_on(client: docker.DockerClient, network: str) -> bool:
    """Whether this process runs in a container of the network itself."""
    import docker

    if not Path("/.dockerenv").exists():
        return False
    try:
        mine = client.containers.get(socket.gethostname())
    except docker.errors.DockerException:
        return False
    return network in mine.attrs["NetworkSettings"]["Networks"]
