"""What a target on the engine needs beside bundles: a gateway's image, a home, a network."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from mlops_pipelines import environment
from mlops_pipelines.release.images.version_image import VersionImage
from mlops_pipelines.release.targets.docker.surroundings import NETWORK
from mlops_pipelines.release.targets.docker.target import DockerTarget
from mlops_pipelines.release_spec import Release
from tests.conftest import ROOT, require
from tests.engine.conftest import WHEELHOUSE, Bundles, alone_on_this_machine

if TYPE_CHECKING:
    import docker

GATEWAY_IMAGE = "mlops/test-haproxy:debian"
"""Kept between runs, as the base image is."""


@dataclass
class World:
    """A target of its own network and home, with the bundles of three versions."""

    client: docker.DockerClient
    target: DockerTarget
    bundles: Bundles
    home: Path
    settings: environment.DockerTarget
    releases: dict[str, Release]
    containers: list[str] = field(default_factory=list)

    def bundle(self, version: int) -> Path:
        return self.bundles.folder(version)

    def again(self) -> DockerTarget:
        """What another process would find."""
        return DockerTarget(self.home, self.settings, self.releases, WHEELHOUSE)

    def names(self, **labels: str) -> list[str]:
        """Every container of the network, running or not."""
        wanted = [f"{NETWORK}={self.settings.network}"]
        wanted += [f"mlops.{name}={value}" for name, value in labels.items()]
        found = self.client.api.containers(all=True, filters={"label": wanted})
        return sorted(one["Names"][0].lstrip("/") for one in found)


@pytest.fixture(scope="session")
def gateway_image(engine: docker.DockerClient, base: str) -> str:
    """HAProxy on the base image."""
    import docker

    with alone_on_this_machine("gateway"):
        try:
            engine.images.get(GATEWAY_IMAGE)
        except docker.errors.ImageNotFound:
            try:
                engine.images.build(
                    path=str(ROOT / "docker" / "haproxy"),
                    tag=GATEWAY_IMAGE,
                    buildargs={"BASE_IMAGE": base},
                    rm=True,
                    forcerm=True,
                    network_mode="host",
                )
            except docker.errors.BuildError as error:
                require("docker", f"no HAProxy image: {error}")
    return GATEWAY_IMAGE


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def docker_world(
    engine: docker.DockerClient, base: str, image: str, bundles: Bundles
) -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="mlops-engine-"))
    home.chmod(0o755)
    network = f"mlops-test-{uuid.uuid4().hex[:8]}"
    gateway = environment.Gateway(image=image, port=free_port(), stats_port=free_port())
    settings = environment.DockerTarget(
        type="docker", base_image=base, network=network, gateway=gateway
    )
    releases: dict[str, Release] = {}
    target = DockerTarget(home, settings, releases, WHEELHOUSE)
    made = World(engine, target, bundles, home, settings, releases)
    try:
        yield made
    finally:
        found = engine.api.containers(all=True, filters={"label": [f"{NETWORK}={network}"]})
        for one in found:
            engine.api.remove_container(one["Id"], force=True, v=True)
        import docker

        with suppress(docker.errors.NotFound):
            engine.networks.get(network).remove()
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def world(
    engine: docker.DockerClient,
    base: str,
    gateway_image: str,
    bundles: Bundles,
    images: dict[int, VersionImage],
) -> Iterator[World]:
    """One world for all tests of a file, each of which says what it begins with."""
    assert set(images) == {1, 2, 3}
    with docker_world(engine, base, gateway_image, bundles) as made:
        yield made


@dataclass
class Seen:
    """What callers saw: answers by version, and failures with when each was."""

    answers: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    slowest: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def await_answers(self, version: int, more: int = 30) -> None:
        """Wait until `version` has answered so many more requests."""
        target = self.answers[version] + more
        deadline = time.monotonic() + 40
        while self.answers[version] < target:
            assert time.monotonic() < deadline, f"{self.answers}, {self.failures[:3]}"
            time.sleep(0.005)


def request_of(bundle: Path) -> bytes:
    """A request for the first golden row of a bundle."""
    about = json.loads((bundle / "bundle.json").read_text())
    row = json.loads((bundle / "golden.json").read_text())["rows"][0]
    names = [column["name"] for column in about["columns"]]
    return json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode()


@contextmanager
def callers(address: str, body: bytes, number: int = 8) -> Iterator[Seen]:
    """Callers that ask without pause, each over its own kept connection."""
    seen = Seen()
    where = urlsplit(address)

    def call() -> None:
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=40)
        while not seen.ended.is_set():
            began = time.monotonic()
            name = uuid.uuid4().hex
            try:
                headers = {"content-type": "application/json", "x-request-id": name}
                connection.request("POST", f"{where.path}/invocations", body, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status == 200:
                    seen.answers[int(answer.headers["x-model-version"])] += 1
                    seen.ids.add(name)
                else:
                    said = f"{answer.status} {content[:100]!r}"
                    seen.failures.append((time.monotonic(), said))
            except (OSError, http.client.HTTPException) as error:
                seen.failures.append((time.monotonic(), type(error).__name__))
                connection.close()
            seen.slowest = max(seen.slowest, time.monotonic() - began)
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        seen.ended.set()
        for thread in threads:
            thread.join()


def get(address: str, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a GET through the gateway."""
    where = urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    try:
        connection.request("GET", where.path + path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
