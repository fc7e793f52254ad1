"""The containers that answer for a model: started, found again by their labels, ended."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.gateway.state import Role, Server
from mlops_pipelines.release.images.engine import told
from mlops_pipelines.release.images.runtime_image import PORT
from mlops_pipelines.release.images.try_image import CONFINED, LOOK_SECONDS
from mlops_pipelines.release.signing import verify_environment
from mlops_pipelines.release.targets.docker.surroundings import (
    NETWORK,
    aliases,
    ensure_network,
    writable,
)
from mlops_pipelines.release_spec import Resources
from mlops_pipelines.serve.verify import VERIFY_KEY

if TYPE_CHECKING:
    import docker

ROLE, REPLICA = "mlops.role", "replica"
MOST = "mlops.most_requests"
READY_SECONDS = 60.0
STOP_SECONDS = 35
TOKENS, TOKENS_FILE = "MLOPS_SERVE_TOKENS", "MLOPS_SERVE_TOKENS_FILE"
TOKENS_INSIDE = "/run/mlops-tokens"


@dataclass(frozen=True)
class About:
    """What a replica serves, from which image, and how many requests it is given at one time."""

    model: str
    version: int
    bundle: str
    image: str
    most: int

    @property
    def labels(self) -> dict[str, str]:
        """By which a container is found again."""
        return {
            ROLE: REPLICA,
            record.MODEL: self.model,
            record.VERSION: str(self.version),
            record.BUNDLE: self.bundle,
            MOST: str(self.most),
        }


@dataclass(frozen=True)
class Found:
    """A replica's container; `address` is empty where it does not run."""

    id: str
    name: str
    about: About
    address: str
    runs: bool

    def server(self, role: Role) -> Server:
        """As the gateway knows it."""
        about = self.about
        return Server(self.name, self.address, PORT, about.version, about.bundle, role, about.most)


class Replicas:
    """The replicas of the models of one network."""

    def __init__(self, client: docker.DockerClient, network: str) -> None:
        self._client = client
        self._network = network

    def found(self, model: str) -> tuple[Found, ...]:
        """Every container of a replica of the model, running or not, by name."""
        labels = [f"{NETWORK}={self._network}", f"{ROLE}={REPLICA}", f"{record.MODEL}={model}"]
        with told(f"looking for the replicas of {model}"):
            said = self._client.api.containers(all=True, filters={"label": labels})
        return tuple(sorted((self._one(one) for one in said), key=lambda one: one.name))

    def start(
        self, about: About, count: int, log_dir: Path, limits: Resources
    ) -> tuple[Found, ...]:
        """`count` new containers, once each answers its golden rows as at training time.

        Raises TargetError, and then none of them is left.
        """
        ensure_network(self._client, self._network)
        user, group = writable(log_dir)
        environment, mounts = _environment()
        names = [
            f"{self._network}-{about.model}-v{about.version}-{secrets.token_hex(4)}"
            for _ in range(count)
        ]

        def run(name: str) -> None:
            with told(f"starting {name}"):
                self._client.containers.run(
                    about.image,
                    detach=True,
                    name=name,
                    network=self._network,
                    networking_config=aliases(self._client, self._network, "replicas"),
                    user=f"{user}:{group}",
                    labels={NETWORK: self._network, **about.labels},
                    environment=environment,
                    volumes={str(log_dir): {"bind": "/log", "mode": "rw"}, **mounts},
                    nano_cpus=int(limits.cpus * 1e9),
                    mem_limit=f"{limits.memory_mb}m",
                    memswap_limit=f"{limits.memory_mb}m",
                    restart_policy={"Name": "unless-stopped"},
                    **CONFINED,
                )

        try:
            _at_once(run, names)
            return self._ready(about.model, names)
        except BaseException:
            with suppress(TargetError):
                self.end([one for one in self.found(about.model) if one.name in names], 1)
            raise

    def end(self, gone: Sequence[Found], seconds: int = STOP_SECONDS) -> None:
        """Let them answer what is in flight, for so many seconds at most; then they are gone."""
        import docker

        def stop(one: Found) -> None:
            with told(f"ending {one.name}"), suppress(docker.errors.NotFound):
                container = self._client.containers.get(one.id)
                if one.runs:
                    container.stop(timeout=seconds)
                container.remove(force=True, v=True)

        _at_once(stop, gone)

    def _ready(self, model: str, names: Sequence[str]) -> tuple[Found, ...]:
        deadline = time.monotonic() + READY_SECONDS
        reasons: dict[str, str] = {}
        ready: dict[str, Found] = {}
        found: dict[str, Found] = {}
        looked = 0.0
        while len(ready) < len(names):
            if time.monotonic() - looked >= LOOK_SECONDS:
                found = {one.name: one for one in self.found(model)}
                for name in names:
                    self._lives(name, found.get(name))
                looked = time.monotonic()
            for name in [name for name in names if name not in ready]:
                reasons[name] = unready(found[name]) or ""
                if not reasons[name]:
                    self._lives(name, found[name])
                    ready[name] = found[name]
            if len(ready) < len(names):
                if time.monotonic() > deadline:
                    why = next(reason for reason in reasons.values() if reason)
                    raise TargetError(
                        f"a new replica was not ready within {READY_SECONDS:g} s: {why}"
                    )
                time.sleep(0.03)
        return tuple(ready[name] for name in names)

    def _lives(self, name: str, one: Found | None) -> None:
        """Raises TargetError where the container has ended, even if the engine started it again."""
        if one is not None and one.runs:
            with told(f"looking at {name}"):
                if not self._client.api.inspect_container(one.id)["RestartCount"]:
                    return
        raise TargetError(f"{name} ended before it was ready: {self._said(one)}")

    def _said(self, one: Found | None) -> str:
        if one is None:
            return "its container is gone"
        with told(f"reading what {one.name} said"):
            text = self._client.api.logs(one.id, tail=4).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " / ".join(lines)[:600] or "it said nothing"

    def _one(self, said: Mapping[str, Any]) -> Found:
        labels = said["Labels"]
        networks = said["NetworkSettings"]["Networks"]
        runs = said["State"] == "running"
        return Found(
            id=said["Id"],
            name=said["Names"][0].lstrip("/"),
            about=About(
                model=labels[record.MODEL],
                version=int(labels[record.VERSION]),
                bundle=labels[record.BUNDLE],
                image=said["ImageID"],
                most=int(labels.get(MOST, "256")),
            ),
            address=(networks.get(self._network) or {}).get("IPAddress", "") if runs else "",
            runs=runs,
        )


def unready(one: Found) -> str | None:
    """Why the replica should get no traffic; None if it should."""
    if not one.runs or not one.address:
        return "it does not run"
    try:
        status, body = ask(one, "/health/ready")
        if status == 200:
            return None
        return str(json.loads(body).get("reason", f"it answers {status}"))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"it does not answer ({error})"


def ask(one: Found, path: str, seconds: float = 5.0) -> tuple[int, bytes]:
    """What a replica answers to a GET at its own address."""
    connection = http.client.HTTPConnection(one.address, PORT, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _environment() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What a replica needs of this process' environment, and the files it names."""
    kept = {name: os.environ[name] for name in (TOKENS, "TZ") if name in os.environ}
    mounts = {}
    if file := os.environ.get(TOKENS_FILE):
        kept[TOKENS_FILE] = TOKENS_INSIDE
        mounts[str(Path(file).absolute())] = {"bind": TOKENS_INSIDE, "mode": "ro"}
    for name, key in verify_environment().items():
        try:
            kept[name] = key if key.startswith("-----") else Path(key).read_text("ascii")
        except (OSError, ValueError) as error:
            raise TargetError(f"{VERIFY_KEY}={key} cannot be read: {error}") from error
    return kept, mounts


def _at_once(do: Any, what: Sequence[Any]) -> None:
    with ThreadPoolExecutor(max(1, min(16, len(what)))) as pool:
        for done in [pool.submit(do, each) for each in what]:
            done.result()
