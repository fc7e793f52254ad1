"""The image that runtime images are built on, and the Python in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.engine import told
from mlops_pipelines.release.images.once import created, finish

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

PROBE = """
import json, os, platform, sys
print(json.dumps({
    "executable": sys.executable,
    "version": platform.python_version(),
    "libc": platform.libc_ver(),
    "environment": {
        "implementation_name": sys.implementation.name,
        "implementation_version": platform.python_version(),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    },
}))
"""
OLDEST = (3, 11)
LEGACY_MANYLINUX = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class BasePython:
    """The Python of a base image: `environment` is what markers of a lock file are judged by.

    `glibc` is the minor version of the C library: wheels for it and for older ones run.
    """

    executable: str
    version: str
    machine: str
    glibc: int
    environment: Mapping[str, str]

    @property
    def short(self) -> str:
        """Major and minor version, such as 3.11."""
        return ".".join(self.version.split(".")[:2])

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags of wheels that run there, best first (PEP 600)."""
        found = []
        for minor in range(self.glibc, 4, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in LEGACY_MANYLINUX:
                found.append(f"{LEGACY_MANYLINUX[minor]}_{self.machine}")
        return (*found, f"linux_{self.machine}")


def base_image(client: docker.DockerClient, name: str) -> Image:
    """The image `name`, pulled where the engine has it not; raises TargetError."""
    import docker
    import requests

    with told(f"looking for the base image {name}"):
        try:
            found = client.images.get(name)
        except docker.errors.ImageNotFound:
            try:
                found = client.images.pull(name)
            except (docker.errors.APIError, requests.exceptions.RequestException) as error:
                raise TargetError(
                    f"the base image {name} is not on the engine and cannot be pulled; make one "
                    "with docker/base.sh, or name another in BASE_IMAGE"
                ) from error
        theirs, ours = found.attrs.get("Architecture", ""), client.version().get("Arch", "")
    if theirs and ours and theirs != ours:
        raise TargetError(
            f"the base image {name} is for {theirs} and the engine runs {ours}; name one for "
            f"{ours} in BASE_IMAGE, or make it with docker/base.sh"
        )
    return found


def base_python(client: docker.DockerClient, image: Image, name: str) -> BasePython:
    """What Python says of itself in the base image; raises TargetError where there is none."""
    command = ["python3", "-I", "-c", PROBE]
    with created(client, str(image.id), "probe", entrypoint=command, network_mode="none") as probe:
        try:
            code, said = finish(probe, f"starting the base image {name}")
        except TargetError as error:
            if not re.search(r"\bexec\b|executable", str(error)):
                raise
            code, said = 127, ""
    if code != 0:
        raise TargetError(
            f"the base image {name} has no python3 that starts; name one that has in BASE_IMAGE, "
            "or make it with docker/base.sh"
        )
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise TargetError(f"the base image {name}: its python3 does not say what it is") from error
    if tuple(map(int, found["version"].split(".")[:2])) < OLDEST:
        raise TargetError(
            f"the base image {name} has Python {found['version']}, and the server needs "
            f"{OLDEST[0]}.{OLDEST[1]} or newer; name another in BASE_IMAGE"
        )
    libc, release = found["libc"]
    if libc != "glibc":
        raise TargetError(
            f"the base image {name} has another C library than glibc, for which few wheels are "
            "published; name a Debian-like one in BASE_IMAGE, or make it with docker/base.sh"
        )
    return BasePython(
        executable=found["executable"],
        version=found["version"],
        machine=found["environment"]["platform_machine"],
        glibc=int(release.split(".")[1]),
        environment=found["environment"],
    )
