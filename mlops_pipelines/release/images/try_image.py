"""Whether a version's image, started as it will be in production, answers as in training."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.engine import told
from mlops_pipelines.release.images.once import created
from mlops_pipelines.release.images.runtime_image import PORT, USER
from mlops_pipelines.release.images.version_image import VersionImage
from mlops_pipelines.release.serves import Asked, Serves, judged
from mlops_pipelines.release.signing import verify_environment

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

READY_SECONDS = 60.0
LOOK_SECONDS = 0.3
"""So often the engine is asked whether a starting container still runs: that slows its start."""
CONFINED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "mode=1777,size=64m"},  # noqa: S108
}
"""How every container of a version is started: it can write to /tmp and /log, and nowhere else."""


def serves_image(
    client: docker.DockerClient, image: VersionImage, bundle: Path, network: str | None = None
) -> Serves:
    """Start `image`, ask the golden rows of `bundle` over HTTP, compare, take it away again.

    It is asked at a free port of 127.0.0.1, or at its own address: on `network`, where that is
    there, for who asks may be in a container too. It never takes traffic, and its prediction log
    is not kept. What is wrong is told in the sentence, not raised.
    """

    def asked(_: Path, body: bytes) -> Asked:
        started = time.monotonic()
        with _started(client, image, network) as container:
            address = _ready(container)
            seconds = round(time.monotonic() - started, 3)
            return *_request(address, "POST", "/invocations", body), seconds

    return judged(bundle, asked)


def key_in_containers() -> dict[str, str]:
    """What makes the server in a container check signatures: the key itself, not its file.

    Raises TargetError where the file cannot be read.
    """
    inherited = {}
    for name, value in verify_environment().items():
        try:
            pem = value if value.startswith("-----") else Path(value).read_text("utf-8")
        except OSError as error:
            raise TargetError(f"{name} names {value}: {error.strerror}") from error
        inherited[name] = pem
    return inherited


@contextmanager
def _started(
    client: docker.DockerClient, image: VersionImage, network: str | None
) -> Iterator[Container]:
    settings = {
        **CONFINED,
        "tmpfs": {**CONFINED["tmpfs"], "/log": f"uid={USER},gid={USER},mode=0700"},
        "ports": {f"{PORT}/tcp": ("127.0.0.1", None)},
        "environment": key_in_containers(),
        # Its standard input closes with this process, however that ends, and then it ends too.
        "command": ["--attached"],
        "stdin_open": True,
    }
    with told("looking at its networks"):
        if network and client.networks.list(names=[f"^{network}$"]):
            settings["network"] = network
    with created(client, image.id, "trial", **settings) as container:
        with told(f"starting {image.tag}"):
            attached = container.attach_socket(params={"stdin": 1, "stream": 1})
            container.start()
        # What docker-py hands out leaves the socket below it open when it is closed.
        with closing(getattr(attached, "_sock", attached)), closing(attached):
            yield container


Address = tuple[str, int]


def _ready(container: Container) -> Address:
    """Where the container answers, once it says that it is ready; raises TargetError."""
    deadline = time.monotonic() + READY_SECONDS
    reason = "it does not answer"
    looked = 0.0
    while time.monotonic() < deadline:
        if time.monotonic() - looked >= LOOK_SECONDS:
            with told("looking at a started image"):
                container.reload()
            looked = time.monotonic()
        state = container.attrs["State"]
        if state["Status"] == "exited":
            raise TargetError(f"it ended with code {state['ExitCode']}; {_end(container)}")
        for address in _addresses(container):
            try:
                status, content = _request(address, "GET", "/health/ready", seconds=1)
                answer = json.loads(content)
            except (OSError, http.client.HTTPException, ValueError):
                continue
            if status == 200:
                return address
            reason = answer.get("reason", reason)
        time.sleep(0.03)
    raise TargetError(f"it was not ready within {READY_SECONDS:g} s: {reason}; {_end(container)}")


def _addresses(container: Container) -> Iterator[Address]:
    network = container.attrs["NetworkSettings"]
    for published in network["Ports"].get(f"{PORT}/tcp") or ():
        yield published["HostIp"], int(published["HostPort"])
    for joined in network["Networks"].values():
        if joined["IPAddress"]:
            yield joined["IPAddress"], PORT


def _end(container: Container) -> str:
    with suppress(TargetError), told("reading its log"):
        lines = container.logs(tail=4).decode("utf-8", "replace").splitlines()
        said = " / ".join(line.strip() for line in lines if line.strip())
        return f"its log ends with: {said[-600:]}" if said else "it said nothing"
    return "its log cannot be read"


def _request(
    address: Address, method: str, path: str, body: bytes | None = None, seconds: float = 10
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=seconds)
    try:
        headers = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
