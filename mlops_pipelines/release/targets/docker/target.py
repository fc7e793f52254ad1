"""Bundles run as containers of a Docker engine, behind the environment's gateway.

There is no supervisor. What is wanted lies in the gateway's state; what runs is found again by the
containers' labels, and what answers is asked of the gateway.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops_pipelines import environment
from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.gateway.gateway import Gateway
from mlops_pipelines.release.gateway.state import Route
from mlops_pipelines.release.images.engine import connect
from mlops_pipelines.release.targets.docker import look
from mlops_pipelines.release.targets.docker.about import about, read
from mlops_pipelines.release.targets.docker.haproxy import PORT, HaproxyContainer
from mlops_pipelines.release.targets.docker.mend import Mender
from mlops_pipelines.release.targets.docker.replicas import About, Found, Replicas, ask
from mlops_pipelines.release.targets.docker.roles import Roles
from mlops_pipelines.release.targets.docker.surroundings import is_on
from mlops_pipelines.release.targets.docker.usage import usage
from mlops_pipelines.release.targets.held import held
from mlops_pipelines.release.targets.places import Places
from mlops_pipelines.release.targets.scrape import Sample, samples
from mlops_pipelines.release.targets.target import Service, Traffic, Usage
from mlops_pipelines.release_spec import Release

if TYPE_CHECKING:
    import docker

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared with, not bound)

logger = logging.getLogger(__name__)


class DockerTarget:
    """The containers of all models of one environment; what is remembered lies under `home`.

    `releases` says, by model, what its declaration says of releases; the folder `wheelhouse` keeps
    the wheels that runtime images are made of.
    """

    kind: Literal["docker"] = "docker"

    def __init__(
        self,
        home: Path,
        settings: environment.DockerTarget,
        releases: Mapping[str, Release],
        wheelhouse: Path,
    ) -> None:
        self._places = Places(home.absolute())
        self._settings = settings
        self._releases = releases
        self._wheelhouse = wheelhouse
        # No model's name begins like this.
        self._runner = HaproxyContainer(
            lambda: self._client, self._places.home / "_gateway", settings
        )
        self._gateway = Gateway(self._places.home / "_gateway", self._runner)

    def _release(self, model: str) -> Release:
        return self._releases.get(model, Release())

    def lock(self, model: str, who: str) -> AbstractContextManager[None]:
        """Held by one release of the model at a time; raises BusyError naming who holds it."""
        return held(self._places.lock(model), model, who)

    def state_dir(self, model: str) -> Path:
        """The folder for what must be remembered of the model's rollouts."""
        return self._places.home / model

    def log_dir(self, model: str) -> Path:
        """Where the replicas write the prediction log."""
        return self._places.log_dir(model)

    def service(self, model: str) -> Service | None:
        """What runs now; None where nothing does and nothing is wanted."""
        route = self._gateway.route(model)
        if not route.servers and not route.wanted:
            return None
        return look.service(route, self._found(model), self._running(model), self._address(model))

    def switch(self, model: str, bundle: Path, replicas: int, port: int | None = None) -> Service:  # noqa: ARG002
        """Give all traffic of `model` to `replicas` of `bundle`; asked again, nothing happens.

        A version that is warm already only takes the traffic; another is started first. The
        gateway's address is that of every model, so a `port` of its own is not given.
        """
        with self.lock(model, "switch"):
            digest, roles = read(model, bundle).digest, self._roles(model)
            route = self._gateway.route(model)
            if route.bundle_of("serving") != digest and roles.warm(route, digest):
                # First of all: whoever goes back is in a hurry.
                roles.promote(digest)
            # Before a first release nothing was there to be amiss.
            level = logging.WARNING if route.servers else logging.INFO
            for said in self.tidy(model):
                logger.log(level, "%s: %s", model, said)
            if self._gateway.route(model).bundle_of("serving") != digest:
                roles.challenge(bundle, digest, replicas, switching=True)
                roles.promote(digest)
            return self.scale(model, replicas)

    def scale(self, model: str, replicas: int) -> Service:
        """Want `replicas` of what serves, and let as many serve.

        Where none lives, nobody here knows of which version: `rollout.reconcile` starts them.
        """
        with self.lock(model, "scale"):
            route = self._gateway.change(model, lambda r: replace(r, wanted=replicas))
            self._roles(model).fill(route, "serving", replicas)
            return self._service(model)

    def stop(self, model: str) -> None:
        """End every replica of `model`, once it has answered what is in flight."""
        with self.lock(model, "stop"):
            # Asked for first: where the engine does not answer, the traffic stays.
            running = self._replicas.found(model)
            if self._gateway.route(model) != Route(model):
                self._gateway.change(model, lambda _: Route(model))
            self._replicas.end(running)

    def tidy(self, model: str) -> tuple[str, ...]:
        """Undo what a killed run left behind, and end what is over; a sentence for each.

        Where the gateway itself sent the traffic to the standby, that is what serves from now on.
        """
        with self.lock(model, "tidy"):
            if model not in self._gateway.models():
                return self._leftovers(model)
            mender = Mender(
                self._gateway,
                self._replicas,
                model,
                lambda route: self._roles(model).fill(route, "serving", route.wanted),
            )
            return mender.mend()

    def metrics(self, model: str) -> dict[str, tuple[Sample, ...]]:
        """What each living replica counts, by its name; one that does not answer is left out."""

        def page(one: Found) -> tuple[Sample, ...] | None:
            try:
                status, body = ask(one, "/metrics")
            except (OSError, http.client.HTTPException):
                return None
            return samples(body.decode()) if status == 200 else None

        found = [one for one in self._found(model) if one.runs]
        with ThreadPoolExecutor(max(1, min(16, len(found)))) as pool:
            pages = dict(zip(found, pool.map(page, found), strict=True))
        return {one.name: said for one, said in pages.items() if said is not None}

    def usage(self, model: str) -> tuple[Usage, ...]:
        """What each living replica uses, the standby's and challenger's too."""
        return usage(self._client, self._found(model))

    def challenge(self, model: str, bundle: Path, replicas: int) -> Service:
        """Start `replicas` of `bundle` beside what serves; they are ready and take no traffic.

        An earlier challenger of another bundle ends; a standby of this one becomes it.
        """
        with self.lock(model, "challenge"):
            digest = read(model, bundle).digest
            self._roles(model).challenge(bundle, digest, replicas, switching=False)
            return self._service(model)

    def weigh(self, model: str, version: int, percent: int) -> None:
        """Give `percent` (0 to 100) of the traffic to the challenger `version`.

        With 100 it is what serves, and what served before is the standby.
        """
        with self.lock(model, "weigh"):
            route = self._gateway.route(model)
            if version == route.version_of("serving") and percent == 100:
                self._gateway.change(model, lambda r: replace(r, percent=0))
                return
            if version != route.version_of("challenger"):
                raise TargetError(
                    f"{model}: version {version} is no challenger, so it can be given no traffic"
                )
            if percent == 100 or not route.of_role("serving"):
                self._roles(model).promote(route.bundle_of("challenger"))
            else:
                self._gateway.change(model, lambda r: replace(r, percent=percent))

    def withdraw(self, model: str, version: int) -> None:
        """Take a challenger or standby out: no traffic, then no replicas."""
        with self.lock(model, "withdraw"):
            route = self._gateway.route(model)
            gone = [s for s in route.servers if s.version == version]
            if any(server.role == "serving" for server in gone):
                raise TargetError(
                    f"{model}: version {version} serves, so it is not taken out; switch to "
                    "another first"
                )
            self._roles(model).drop([server.name for server in gone])

    def traffic(self, model: str) -> dict[int, Traffic]:
        """What the gateway counted, by version."""
        return self._gateway.traffic(model)

    @cached_property
    def _client(self) -> docker.DockerClient:
        return connect()

    @property
    def _replicas(self) -> Replicas:
        return Replicas(self._client, self._settings.network)

    @cached_property
    def _host(self) -> str:
        """Where this process reaches the gateway, and so may name it."""
        gateway = self._settings.gateway
        if is_on(self._client, self._settings.network):
            return f"http://{self._runner.name}:{PORT}"
        return f"http://{EVERYWHERE.get(gateway.host, gateway.host)}:{gateway.port}"

    def _address(self, model: str) -> str:
        return f"{self._host}/models/{model}"

    def _found(self, model: str) -> tuple[Found, ...]:
        return self._replicas.found(model)

    def _running(self, model: str) -> look.Running:
        try:
            return self._gateway.running(model)
        except TargetError:
            # Then nothing has traffic, which is what `service` says.
            return {}

    def _service(self, model: str) -> Service:
        return look.service(
            self._gateway.route(model),
            self._found(model),
            self._running(model),
            self._address(model),
        )

    def _roles(self, model: str) -> Roles:
        def about_(bundle: Path) -> About:
            base = self._settings.base_image
            return about(self._client, model, bundle, base, self._wheelhouse)

        log_dir, release = self.log_dir(model), self._release(model)
        return Roles(model, self._gateway, self._replicas, log_dir, release, about_)

    def _leftovers(self, model: str) -> tuple[str, ...]:
        left = self._found(model)
        self._replicas.end(left)
        return (f"ended {len(left)} replicas that an interrupted run had left",) if left else ()
