"""Runs the gateway's HAProxy as a container of the environment's network."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.environment import DockerTarget
from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.gateway.admin import Admin
from mlops_pipelines.release.gateway.gateway import CONFIGURATION
from mlops_pipelines.release.gateway.render import Listening
from mlops_pipelines.release.images.engine import told
from mlops_pipelines.release.targets.docker.surroundings import (
    NETWORK,
    aliases,
    ensure_network,
    image_named,
    writable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker
    from docker.models.containers import Container

INSIDE = "/gateway"
PORT, STATS_PORT = 8080, 8081
START_SECONDS = 15.0
SETTINGS = "mlops.gateway"
"""Label: a hash of all that a running gateway cannot change."""


class HaproxyContainer:
    """The gateway's container; `folder` is where its configuration and socket lie."""

    def __init__(
        self, client: Callable[[], docker.DockerClient], folder: Path, settings: DockerTarget
    ) -> None:
        self._client = client
        self._folder = folder
        self._settings = settings
        self.name = f"{settings.network}-gateway"

    @property
    def listening(self) -> Listening:
        """Where HAProxy listens, in its container."""
        return Listening(f":{PORT}", f":{STATS_PORT}", INSIDE)

    def refusal(self, file: str) -> str | None:
        """What HAProxy says against a configuration of the folder; None if nothing."""
        command = ["haproxy", "-c", "-f", f"{INSIDE}/{file}"]
        running = self._running()
        with told("checking the gateway's configuration"):
            if running is not None:
                done = running.exec_run(command)
                return None if done.exit_code == 0 else _complaint(done.output)
        return self._tried(command)

    def ensure(self) -> str:
        """Let the container run as the settings say; a sentence where something had to be done.

        One that runs with other settings runs on where another cannot be started.
        """
        found, wanted = self._found(), self._wanted()
        same = found is not None and found.labels.get(SETTINGS) == wanted["labels"][SETTINGS]
        if found is not None and same:
            if found.status == "running":
                return ""
            with told("starting the gateway"):
                found.start()
            self._await()
            return "the gateway did not run: started"
        ensure_network(self._client(), self._settings.network)
        before = f"{self.name}-before"
        if found is None:
            self._start(wanted)
            # A run that was killed while it replaced the gateway has left it.
            self._remove(before)
            return "the gateway did not run: started"
        # Both would listen on the same sockets, so one ends before the other begins.
        self._remove(before)
        with told("replacing the gateway"):
            found.stop(timeout=1)
            found.rename(before)
        try:
            self._start(wanted)
        except BaseException:
            with told("starting the gateway that was there again"):
                found.rename(self.name)
                found.start()
            self._await()
            raise
        with told("replacing the gateway"):
            found.remove(force=True)
        return "the gateway ran with other settings: replaced"

    def reload(self) -> None:
        """Have HAProxy's master read the configuration again."""
        found = self._running()
        if found is None:
            self.ensure()
            return
        with told("reloading the gateway"):
            found.kill("SIGUSR2")

    def _start(self, wanted: dict[str, Any]) -> None:
        gateway = self._settings.gateway
        try:
            with told("starting the gateway"):
                self._client().containers.run(detach=True, **wanted)
            self._await()
        except BaseException as error:
            self._remove(self.name)
            if isinstance(error, TargetError) and ("port" in str(error) or "address" in str(error)):
                raise TargetError(
                    f"the gateway cannot listen on {gateway.host}:{gateway.port} and "
                    f"{gateway.stats_port}: {error}; free them, or name others in "
                    "target.gateway of resources/"
                ) from error
            raise

    def _wanted(self) -> dict[str, Any]:
        gateway = self._settings.gateway
        wanted = {
            **self._confined(),
            "image": self._image(),
            "name": self.name,
            "command": ["haproxy", "-W", "-db", "-f", f"{INSIDE}/{CONFIGURATION}"],
            "network": self._settings.network,
            "networking_config": aliases(self._client(), self._settings.network, "gateway"),
            "ports": {
                f"{PORT}/tcp": (gateway.host, gateway.port),
                f"{STATS_PORT}/tcp": (gateway.host, gateway.stats_port),
            },
            "restart_policy": {"Name": "unless-stopped"},
            "stop_signal": "SIGUSR1",
        }
        said = json.dumps(wanted, sort_keys=True).encode()
        labels = {
            NETWORK: self._settings.network,
            "mlops.role": "gateway",
            SETTINGS: hashlib.sha256(said).hexdigest()[:16],
        }
        return {**wanted, "labels": labels}

    def _image(self) -> str:
        name = os.environ.get("HAPROXY_IMAGE") or self._settings.gateway.image
        found = image_named(self._client(), name, "target.gateway.image")
        return str(found.id)

    def _confined(self) -> dict[str, Any]:
        user, group = writable(self._folder)
        return {
            "entrypoint": [],
            "user": f"{user}:{group}",
            "volumes": {str(self._folder): {"bind": INSIDE, "mode": "rw"}},
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
        }

    def _tried(self, command: list[str]) -> str | None:
        import docker

        image = self._image()
        with told("checking the gateway's configuration"):
            try:
                self._client().containers.run(
                    image,
                    command,
                    remove=True,
                    network_mode="none",
                    stderr=True,
                    **self._confined(),
                )
            except docker.errors.ContainerError as error:
                return _complaint(error.stderr or b"")
        return None

    def _found(self, name: str = "") -> Container | None:
        import docker

        with told("looking for the gateway"):
            try:
                return self._client().containers.get(name or self.name)
            except docker.errors.NotFound:
                return None

    def _running(self) -> Container | None:
        found = self._found()
        return found if found is not None and found.status == "running" else None

    def _remove(self, name: str) -> None:
        found = self._found(name)
        if found is not None:
            with told("removing a gateway"):
                found.remove(force=True)

    def _await(self) -> None:
        admin = Admin(self._folder / "admin.sock")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(TargetError):
                admin.process()
                return
            time.sleep(0.02)
        found = self._found()
        said = _complaint(found.logs(tail=20)) if found is not None else "its container is gone"
        raise TargetError(f"the gateway did not start within {START_SECONDS:g} s: {said}")


def _complaint(output: bytes) -> str:
    """HAProxy's first alert in one line."""
    lines = output.decode("utf-8", "replace").splitlines()
    alerts = [line for line in lines if "[ALERT]" in line] or lines or ["it said nothing"]
    return " ".join(alerts[0].split())[:300]
