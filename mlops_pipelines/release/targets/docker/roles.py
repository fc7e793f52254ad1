"""Starts, promotes and ends the replicas of one model, and tells the gateway of each step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mlops_pipelines.errors import TargetError
from mlops_pipelines.logs import step
from mlops_pipelines.release.gateway.gateway import Gateway
from mlops_pipelines.release.gateway.state import Role, Route
from mlops_pipelines.release.targets.docker.replicas import About, Found, Replicas, unready
from mlops_pipelines.release_spec import Release

logger = logging.getLogger(__name__)


class Roles:
    """The replicas of one model by what they are there for; `about` says what runs of a bundle."""

    def __init__(
        self,
        model: str,
        gateway: Gateway,
        replicas: Replicas,
        log_dir: Path,
        release: Release,
        about: Callable[[Path], About],
    ) -> None:
        self._model = model
        self._gateway = gateway
        self._replicas = replicas
        self._log_dir = log_dir
        self._release = release
        self._about = about

    def _found(self) -> tuple[Found, ...]:
        return self._replicas.found(self._model)

    def fill(self, route: Route, role: Role, count: int, bundle: Path | None = None) -> None:
        """Have `count` living replicas in this role; new ones as those there, or of `bundle`."""
        found = {one.name: one for one in self._found()}
        there = [server for server in route.of_role(role) if server.name in found]
        living = [server for server in there if found[server.name].runs]
        dead = [server.name for server in route.of_role(role) if server not in living]
        missing = count - len(living)
        if missing > 0 and (bundle is not None or there):
            what = (
                self._about(bundle)
                if bundle is not None
                else found[(living or there)[0].name].about
            )
            with step(logger, "start_replicas", model=self._model, replicas=missing):
                try:
                    new = self._replicas.start(
                        what, missing, self._log_dir, self._release.resources
                    )
                except TargetError as error:
                    raise TargetError(f"{self._model}: {error}; traffic did not move") from error
            added = tuple(one.server(role) for one in new)
            try:
                self._gateway.change(
                    self._model, lambda r: replace(r, servers=(*r.servers, *added))
                )
            except BaseException:
                self.drop([one.name for one in new])
                raise
        surplus = [server.name for server in living[count:]]
        if dead or surplus:
            self.drop([*dead, *surplus])

    def challenge(self, bundle: Path, digest: str, replicas: int, *, switching: bool) -> None:
        """Have `replicas` of `bundle`, which has this digest, ready beside what serves."""
        route = self._gateway.route(self._model)
        if route.bundle_of("serving") == digest:
            return
        if route.bundle_of("challenger") not in ("", digest):
            self.drop([server.name for server in route.of_role("challenger")])
        self._gateway.change(
            self._model,
            lambda r: replace(r.with_roles({digest: "challenger"}), switching=switching),
        )
        self.fill(self._gateway.route(self._model), "challenger", replicas, bundle)

    def warm(self, route: Route, bundle: str) -> bool:
        """Whether every replica of the bundle that is behind the gateway could answer now."""
        found = {one.name: one for one in self._found()}
        servers = [server for server in route.servers if server.bundle == bundle]
        return bool(servers) and all(
            server.name in found and unready(found[server.name]) is None for server in servers
        )

    def promote(self, bundle: str) -> None:
        """Give all traffic to the bundle's replicas; what served is the standby."""
        route = self._gateway.route(self._model)
        served = route.bundle_of("serving")
        roles: dict[str, Role] = {bundle: "serving"}
        if served:
            roles[served] = "standby"
        until = time.time() + 60 * self._release.standby_minutes
        over = [
            server.name
            for server in route.of_role("standby")
            if server.bundle not in (bundle, served)
        ]

        def promoted(r: Route) -> Route:
            until_ = until if served else None
            return replace(r.with_roles(roles), percent=0, standby_until=until_, switching=False)

        with step(logger, "move_traffic", model=self._model):
            self._gateway.change(self._model, promoted)
        # Afterwards: whoever leaves answers first what it was given.
        if over:
            self.drop(over)

    def drop(self, names: Sequence[str]) -> None:
        """Take replicas out of the gateway, then end their containers."""
        gone = frozenset(names)
        self._gateway.change(self._model, lambda r: r.without(gone))
        self._replicas.end([one for one in self._found() if one.name in gone])
