"""Containers that are started for one thing, and taken away whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from mlops_pipelines.release.images.engine import told

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

ROLE = "mlops.role"
"""Label of a container: what it is there for."""
Role = Literal["probe", "compile", "trial"]
ROLES: tuple[Role, ...] = ("probe", "compile", "trial")
LEFT_BEHIND = timedelta(minutes=10)
"""None of these containers lives so long unless whoever made it was killed."""


@contextmanager
def created(
    client: docker.DockerClient, image: str, role: Role, **settings: Any
) -> Iterator[Container]:
    """A container that is not started yet, labelled with its `role`; raises TargetError."""
    import docker
    import requests

    # Before, too, so that a full engine is not filled further by what was left behind.
    tidy(client, left_behind(client, datetime.now(UTC) - LEFT_BEHIND))
    with told(f"making a container of {image}"):
        container = client.containers.create(image, labels={ROLE: role}, **settings)
    try:
        yield container
    finally:
        with suppress(docker.errors.DockerException, requests.exceptions.RequestException):
            container.remove(force=True, v=True)


def finish(container: Container, what: str, seconds: float = 300) -> tuple[int, str]:
    """Start a container and await its end: its exit code and what it printed."""
    with told(what):
        container.start()
        code = int(container.wait(timeout=seconds)["StatusCode"])
        return code, container.logs().decode("utf-8", "replace")


def left_behind(client: docker.DockerClient, before: datetime) -> list[str]:
    """The ids of such containers that were made `before`, by runs that were killed."""
    with told("looking for containers that were left behind"):
        return [
            str(one["Id"])
            for one in client.api.containers(all=True, filters={"label": ROLE})
            if one["Labels"][ROLE] in ROLES and datetime.fromtimestamp(one["Created"], UTC) < before
        ]


def tidy(client: docker.DockerClient, left: Sequence[str]) -> list[str]:
    """Remove these containers; the ids of those that were still there. Raises TargetError."""
    import docker

    gone = []
    with told("removing containers that were left behind"):
        for name in left:
            # Another run may be removing it at this moment.
            with suppress(docker.errors.APIError):
                client.api.remove_container(name, force=True, v=True)
                gone.append(name)
    return gone
