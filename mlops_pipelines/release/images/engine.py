"""The Docker engine, and what goes wrong with it as one clear line."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from mlops_pipelines.errors import TargetError

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
BUILD_SECONDS = 600
FULL = "no space left on device"


def connect(seconds: int = 60) -> docker.DockerClient:
    """The engine that DOCKER_HOST names, else the one of this machine.

    A request that gets no answer for `seconds` fails. Raises TargetError where no engine answers.
    """
    import docker

    where = os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET
    try:
        if where.startswith("unix://"):
            # docker-py leaves its socket open where nobody listens.
            with socket.socket(socket.AF_UNIX) as tried:
                tried.connect(where.removeprefix("unix://"))
        return docker.DockerClient.from_env(timeout=seconds)
    except (docker.errors.DockerException, OSError, ValueError) as error:
        raise TargetError(
            f"the Docker engine at {where} does not answer ({_reason(error)}); start it, or set "
            "DOCKER_HOST to one that runs"
        ) from error


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an engine's failure while doing `what` into a TargetError of one line."""
    import docker
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        reason = _reason(error)
        if FULL in reason:
            reason = "its disk is full: free some, for example with docker image prune"
        raise TargetError(f"the Docker engine failed at {what}: {reason}") from error


def find(client: docker.DockerClient, name: str) -> Image | None:
    """The image of this name or id, None where the engine has none; raises TargetError."""
    import docker

    with told(f"looking for the image {name}"):
        try:
            return client.images.get(name)
        except docker.errors.ImageNotFound:
            return None


def build(
    client: docker.DockerClient, context: IO[bytes], tag: str, labels: Mapping[str, str]
) -> Image:
    """Build what the tar `context` holds as `tag`, with `labels`; raises TargetError."""
    with told(f"building {tag}"):
        found, _ = client.images.build(
            fileobj=context,
            custom_context=True,
            tag=tag,
            labels=dict(labels),
            rm=True,
            forcerm=True,
            timeout=BUILD_SECONDS,
        )
    return found


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: docker-py and requests wrap it several times."""
    import docker

    if isinstance(error, docker.errors.APIError) and error.explanation:
        return reason_of(str(error.explanation))
    if isinstance(error, docker.errors.BuildError):
        return reason_of(error.msg)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        inner = next((one for one in cause.args if isinstance(one, BaseException)), None)
        cause = cause.__cause__ or inner or cause.__context__
    return reason_of(str(error))


def reason_of(text: str) -> str:
    """What an engine said, as one line that is not too long."""
    return " ".join(text.split())[:400]
