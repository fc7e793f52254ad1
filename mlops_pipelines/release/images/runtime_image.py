"""The image that a lock file's packages are in: built once, reused by every version on it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_pipelines.release.images.archive import Archive, build_context
from mlops_pipelines.release.images.base import BasePython, base_image, base_python
from mlops_pipelines.release.images.compiled import compile_packages
from mlops_pipelines.release.images.disk import scratch_folder
from mlops_pipelines.release.images.engine import build, find
from mlops_pipelines.release.images.packages import install, leave_out_tests
from mlops_pipelines.release.images.wheelhouse import pinned, unwritable, wheels

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

RECIPE = "3"
"""Changes with what is written here: images of another recipe are not reused."""
USER = 65532
PORT = 8080
PACKAGES = "opt/mlops/packages"
PROBE = "opt/mlops/healthy.py"
HEALTHY = f"""\
import socket, sys
with socket.create_connection(("127.0.0.1", {PORT}), 2) as connection:
    connection.sendall(b"GET /health/ready HTTP/1.0\\r\\nhost: localhost\\r\\n\\r\\n")
    sys.exit(connection.recv(64).split(b" ")[1:2] != [b"200"])
"""
BASE = "mlops.base_image"
BASE_BYTES = "mlops.base_bytes"
LOCK = "mlops.runtime_lock"
PYTHON = "mlops.runtime_python"


@dataclass(frozen=True)
class RuntimeImage:
    """The packages of one lock file on one base image; `own_bytes` is what they add to it."""

    id: str
    tag: str
    base: str
    base_id: str
    python: str
    size_bytes: int
    own_bytes: int
    seconds: float
    built: bool


def runtime_image(
    client: docker.DockerClient, lock: str, base_name: str, wheelhouse: Path
) -> RuntimeImage:
    """The runtime image of the text `lock` on `base_name`, built where the engine lacks it.

    Raises TargetError.
    """
    started = time.monotonic()
    base = base_image(client, base_name)
    tag = runtime_tag(lock, str(base.id))
    found = find(client, tag)
    built = False
    if found is None:
        with _alone(wheelhouse):
            found = find(client, tag)
            if found is None:
                found = _build(client, tag, lock, base, base_name, wheelhouse)
                built = True
    return read_runtime(found, tag, base_name, built, round(time.monotonic() - started, 3))


def runtime_tag(lock: str, base_id: str) -> str:
    """The name of the runtime image of the text `lock` on the base image with the id `base_id`.

    That id says which Python it is as well.
    """
    named = hashlib.sha256(f"{RECIPE} {_sha256(lock)} {base_id}".encode()).hexdigest()
    return f"mlops/runtime:{named[:16]}"


def read_runtime(
    image: Image, tag: str, base_name: str, built: bool = False, seconds: float = 0.0
) -> RuntimeImage:
    """What the engine's `image` says of itself; the base image need not be there any more."""
    size = int(image.attrs["Size"])
    return RuntimeImage(
        id=str(image.id),
        tag=tag,
        base=base_name,
        base_id=image.labels.get(BASE, ""),
        python=image.labels.get(PYTHON, ""),
        size_bytes=size,
        own_bytes=size - int(image.labels.get(BASE_BYTES, 0)),
        seconds=seconds,
        built=built,
    )


@contextmanager
def _alone(wheelhouse: Path) -> Iterator[None]:
    """Two versions that are released at once need one runtime, not the same one twice."""
    try:
        wheelhouse.mkdir(parents=True, exist_ok=True)
        lock = (wheelhouse / ".lock").open("w")
    except OSError as error:
        raise unwritable(wheelhouse, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(
    client: docker.DockerClient,
    tag: str,
    lock: str,
    base: Image,
    base_name: str,
    wheelhouse: Path,
) -> Image:
    python = base_python(client, base, base_name)
    found = wheels(pinned(lock, python.environment), python, wheelhouse)
    with scratch_folder() as scratch:
        packages, tar = scratch / "packages", scratch / "runtime.tar"
        install(found, python, wheelhouse, packages)
        leave_out_tests(packages)
        _write(tar, packages)
        compile_packages(client, str(base.id), python.executable, PACKAGES, packages, tar)
        _write(tar, packages)
        with (scratch / "context.tar").open("w+b") as stream:
            build_context(stream, _dockerfile(str(base.id), python), {"runtime.tar": tar})
            labels = {
                BASE: str(base.id),
                BASE_BYTES: str(base.attrs["Size"]),
                LOCK: _sha256(lock),
                PYTHON: python.version,
            }
            return build(client, stream, tag, labels)


def _write(path: Path, packages: Path) -> None:
    with path.open("wb") as stream:
        archive = Archive(stream)
        archive.file(PROBE, HEALTHY.encode())
        archive.folder("log", USER)
        archive.folder("bundle")
        archive.tree(PACKAGES, packages)
        archive.close()


def _dockerfile(base: str, python: BasePython) -> str:
    """Everything that all versions have in common: a version's own image is two steps then."""
    serve = ["-P", "-m", "mlops_pipelines.serve", "--bundle", "/bundle", "--host", "0.0.0.0"]  # noqa: S104
    serve += ["--port", str(PORT), "--log-dir", "/log"]
    probe = [python.executable, "-I", "-S", f"/{PROBE}"]
    return f"""\
FROM {base}
ADD runtime.tar /
ENV PYTHONPATH=/bundle/code:/{PACKAGES} PYTHONDONTWRITEBYTECODE=1 \\
    HOME=/tmp ORT_DISABLE_TELEMETRY=1
WORKDIR /log
EXPOSE {PORT}
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD {json.dumps(probe)}
USER {USER}:{USER}
ENTRYPOINT {json.dumps([python.executable, *serve])}
CMD []
"""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
