"""Where the process target keeps what it must remember, and where its workers' sockets are."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from mlops_pipelines.errors import TargetError
from mlops_pipelines.serve.control import SOCKET_PATH_BYTES
from mlops_pipelines.store import write_atomically

LONGEST_NAME = len("/v9999999-99999999.http")
TEMPORARY = Path("/tmp")  # noqa: S108 (the folder in it is ours alone, which is checked)
"""Not $TMPDIR or $XDG_RUNTIME_DIR: two sessions that differ in them must find the same workers,
and the latter is emptied when its user logs out."""


@dataclass(frozen=True)
class Wanted:
    """The stable port of a model, None before its first deployment, and how many workers."""

    port: int | None = None
    replicas: int = 0


@dataclass(frozen=True)
class Places:
    """The folder `home`/<model>/ of each model."""

    home: Path

    def lock(self, model: str) -> Path:
        """The file that a release of the model holds."""
        return self.home / model / "lock"

    def log_dir(self, model: str) -> Path:
        """The prediction log."""
        return self.home / model / "log"

    def worker_log(self, model: str) -> Path:
        """What the workers print."""
        return self.home / model / "worker.log"

    def control_dir(self, model: str) -> Path:
        """The workers' private sockets: under `home`, or elsewhere where that path is too long."""
        folder = self.home / model / "run"
        if len(os.fsencode(folder)) + LONGEST_NAME <= SOCKET_PATH_BYTES:
            return folder
        name = hashlib.sha256(os.fsencode(self.home / model)).hexdigest()[:12]
        return TEMPORARY / f"mlops-{os.getuid()}" / name

    def prepare(self, model: str) -> tuple[Path, Path, Path]:
        """Make the folders: control folder, log folder, and the workers' log file.

        Raises TargetError where they cannot be made, or belong to another user.
        """
        control_dir, log_dir = self.control_dir(model), self.log_dir(model)
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            for folder in (control_dir.parent, control_dir):
                if not folder.exists():
                    folder.mkdir(mode=0o700)
            control_dir.chmod(0o700)
            strange = [
                f for f in (control_dir.parent, control_dir) if f.stat().st_uid != os.getuid()
            ]
        except OSError as error:
            raise TargetError(
                f"{error.filename} cannot be written: {error.strerror}; make it writable"
            ) from error
        if strange:
            raise TargetError(f"{strange[0]} belongs to another user; remove it")
        return control_dir, log_dir, self.worker_log(model)

    def wanted(self, model: str) -> Wanted:
        """What is remembered of the model."""
        return _read(self._file(model))

    def want(self, model: str, wanted: Wanted) -> None:
        """Remember it; raises TargetError."""
        file = self._file(model)
        try:
            write_atomically(file, json.dumps(asdict(wanted)).encode() + b"\n")
        except OSError as error:
            raise TargetError(
                f"{file} cannot be written: {error.strerror}; make its folder writable"
            ) from error

    def ports_of_others(self, model: str) -> set[int]:
        """The ports that the other models of this home have, running or not."""
        others = (f for f in self.home.glob("*/service.json") if f != self._file(model))
        return {port for port in (_read(file).port for file in others) if port is not None}

    def _file(self, model: str) -> Path:
        return self.home / model / "service.json"


def _read(file: Path) -> Wanted:
    try:
        return Wanted(**json.loads(file.read_bytes()))
    except FileNotFoundError:
        return Wanted()
    except (OSError, ValueError, TypeError) as error:
        raise TargetError(
            f"{file} cannot be read: {error}; remove it, and deploy the model again"
        ) from error
