"""What a run needs on the engine, all of it labelled, and taken away again at the end."""

from __future__ import annotations

import io
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.common import ROOT, say
from benchmarks.release.errors import SetupError
from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.engine import connect, find

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

LABEL = "mlops.bench"
"""On every image of a run (they inherit it from its base), and so on their containers."""
BASE = "mlops/bench-base:debian"
"""Made by docker/base.sh and kept: with pip, as `python:3.11-slim` has, for MLflow's build."""
GATEWAY = "mlops/bench-haproxy:debian"
"""Kept, too."""


@dataclass
class Engine:
    """The Docker engine; `base` is the image everything stands on, `gateway` has HAProxy.

    `networks` are those to take away at the end.
    """

    client: docker.DockerClient
    run: str
    base: str
    gateway: str
    networks: list[str] = field(default_factory=list)

    def fresh_base(self) -> str:
        """The base image under an id of its own: nothing was ever built on it, nothing cached."""
        name = uuid.uuid4().hex[:12]
        tag = f"mlops/bench-base:{name}"
        dockerfile = f"FROM {self.base}\nLABEL {LABEL}={self.run} {LABEL}.base={name}\n"
        self.client.images.build(
            fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True, forcerm=True
        )
        return tag

    def size(self, image: str) -> int:
        """Bytes of an image with all that is below it."""
        found = find(self.client, image)
        if found is None:
            raise SetupError(f"the image {image} is gone")
        return int(found.attrs["Size"])

    def forget(self, base: str) -> None:
        """Remove every image that stands on this base, and the base."""
        name = base.rpartition(":")[2]
        self._remove_images(f"{LABEL}.base={name}")

    def clean(self) -> None:
        """Remove every container, network and image of this run."""
        import docker

        for network in self.networks:
            label = f"mlops.network={network}"
            for one in self.client.api.containers(all=True, filters={"label": [label]}):
                with suppress(docker.errors.NotFound):
                    self.client.api.remove_container(one["Id"], force=True, v=True)
            with suppress(docker.errors.NotFound):
                self.client.networks.get(network).remove()
        label = f"{LABEL}={self.run}"
        for one in self.client.api.containers(all=True, filters={"label": [label]}):
            with suppress(docker.errors.NotFound):
                self.client.api.remove_container(one["Id"], force=True, v=True)
        self._remove_images(label)

    def _remove_images(self, label: str) -> None:
        import docker

        for _ in range(3):
            left: list[Image] = self.client.images.list(all=True, filters={"label": [label]})
            for image in left:
                # One below another that is not gone yet goes in the next round.
                with suppress(docker.errors.APIError):
                    self.client.images.remove(image.id, force=True)


@contextmanager
def opened() -> Iterator[Engine]:
    """The engine, with a base image and a gateway's; raises SetupError."""
    try:
        client = connect(600)
    except TargetError as error:
        raise SetupError(str(error)) from error
    named = os.environ.pop("BASE_IMAGE", "")
    base = named or _made_base(client)
    gateway = os.environ.pop("HAPROXY_IMAGE", "") or _made_gateway(client, base)
    engine = Engine(client, uuid.uuid4().hex[:12], base, gateway)
    try:
        yield engine
    finally:
        engine.clean()
        client.close()


def _made_base(client: docker.DockerClient) -> str:
    if find(client, BASE) is None:
        say(f"Making the base image {BASE} with docker/base.sh (once; a minute or two) ...")
        command = [
            str(ROOT / "docker" / "base.sh"),
            "--with",
            "python3-pip,python-is-python3",
            BASE,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SetupError(f"no base image: {(done.stderr or done.stdout).strip()[-300:]}")
    return BASE


def _made_gateway(client: docker.DockerClient, base: str) -> str:
    import docker

    if find(client, GATEWAY) is None:
        say(f"Making the gateway's image {GATEWAY} (once) ...")
        try:
            client.images.build(
                path=str(ROOT / "docker" / "haproxy"),
                tag=GATEWAY,
                buildargs={"BASE_IMAGE": base},
                rm=True,
                forcerm=True,
                network_mode="host",
            )
        except (docker.errors.BuildError, docker.errors.APIError) as error:
            raise SetupError(f"no image with HAProxy: {error}") from error
    return GATEWAY
