"""A runtime's packages with their compiled code, made by the Python that is to run it.

The root file system of a replica is read-only, so what is not compiled here is compiled again at
every start.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.images.engine import told
from mlops_pipelines.release.images.once import created, finish

if TYPE_CHECKING:
    import docker


def compile_packages(
    client: docker.DockerClient, base: str, executable: str, where: str, packages: Path, tar: Path
) -> None:
    """Compile what lies in the folder `packages` as if at `where` of the image `base`.

    The compiled files are put into `packages`; `tar` is a scratch file that holds it at `where`.
    Code is trusted to fit its source, which is read-only as well (PEP 552, unchecked hash), and
    so equal source gives equal bytes. Raises TargetError.
    """
    command = [executable, "-m", "compileall", "-q", "-j", "0"]
    command += ["--invalidation-mode", "unchecked-hash", f"/{where}"]
    settings: dict[str, Any] = {"entrypoint": command, "network_mode": "none", "user": "0:0"}
    with created(client, base, "compile", **settings) as container:
        with told("copying the packages to be compiled"), tar.open("rb") as stream:
            container.put_archive("/", stream)
        # Packages carry files that no Python compiles, such as templates: that is no failure.
        code, said = finish(container, "compiling the packages")
        if code > 1:
            raise TargetError(f"compiling the packages ended with {code}: {said[-300:].strip()}")
        with told("fetching the compiled packages"):
            chunks, _ = container.get_archive(f"/{where}")
            with tempfile.TemporaryFile() as fetched:
                fetched.writelines(chunks)
                fetched.seek(0)
                with tarfile.open(fileobj=fetched) as found:
                    _take(found, packages)


def _take(found: tarfile.TarFile, packages: Path) -> None:
    for member in found:
        _, _, member.name = member.name.partition("/")
        if member.isfile() and "__pycache__" in member.name.split("/"):
            found.extract(member, packages, filter="data")
