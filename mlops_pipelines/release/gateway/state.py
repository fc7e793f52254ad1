"""What the gateway is to do: which replicas answer for which model, and in which role."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from mlops_pipelines.errors import TargetError
from mlops_pipelines.store import write_atomically

Role = Literal["serving", "challenger", "standby"]
ROLES = ("serving", "challenger", "standby")
HEAVIEST = 256
"""HAProxy's greatest weight of a server."""
STANDBY = ".standby"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,120}")
_MODEL = re.compile(r"[a-z][a-z0-9_]{0,99}")


@dataclass(frozen=True)
class Server:
    """One replica: where it listens, what it serves, and what it is there for.

    `most` is how many requests it is given at one time; more wait in the gateway. Raises
    TargetError where a value could not stand in HAProxy's configuration.
    """

    name: str
    address: str
    port: int
    version: int
    bundle: str
    role: Role
    most: int = 256

    def __post_init__(self) -> None:
        """Refuse what would be read as something else in a configuration or a command."""
        sound = (
            bool(_NAME.fullmatch(self.name))
            and not self.name.endswith(STANDBY)
            and 0 < self.port < 65536
            and self.role in ROLES
            and self.most > 0
        )
        try:
            ip_address(self.address)
        except ValueError:
            sound = False
        if not sound or "%" in self.address:
            raise TargetError(
                f"the gateway takes no server {self.name!r} at {self.address!r}:{self.port} with "
                f"role {self.role!r}"
            )

    @property
    def standby_name(self) -> str:
        """HAProxy's name of the same replica, where it is kept for when no other answers."""
        return self.name + STANDBY


@dataclass(frozen=True)
class Entry:
    """One line of a backend: a replica as it takes its share, or as it is kept for a failure."""

    name: str
    server: Server
    weight: int
    enabled: bool
    backup: bool


@dataclass(frozen=True)
class Route:
    """The replicas of one model; `percent` of the traffic goes to the challenger.

    `wanted` replicas are to serve; `standby_until` is when the standby may end (epoch s). While a
    switch is `switching`, its challenger is there for it alone.
    """

    model: str
    servers: tuple[Server, ...] = ()
    percent: int = 0
    wanted: int = 0
    standby_until: float | None = None
    switching: bool = False

    def __post_init__(self) -> None:
        """Refuse a model's name that could be no path, and two replicas of one name."""
        names = {server.name for server in self.servers}
        if not _MODEL.fullmatch(self.model) or len(names) != len(self.servers):
            raise TargetError(f"the gateway takes no model {self.model!r} with servers {names}")
        if not 0 <= self.percent <= 100:
            raise TargetError(f"{self.model}: {self.percent} is no percent of the traffic")

    def of_role(self, role: Role) -> tuple[Server, ...]:
        """The replicas in this role."""
        return tuple(server for server in self.servers if server.role == role)

    def version_of(self, role: Role) -> int | None:
        """The version in this role."""
        return next((server.version for server in self.of_role(role)), None)

    def bundle_of(self, role: Role) -> str:
        """The digest of the bundle in this role; empty where there is none."""
        return next((server.bundle for server in self.of_role(role)), "")

    def with_roles(self, roles: Mapping[str, Role]) -> Route:
        """The same with other roles, by bundle."""
        servers = tuple(
            replace(server, role=roles.get(server.bundle, server.role)) for server in self.servers
        )
        return replace(self, servers=servers)

    def without(self, names: Collection[str]) -> Route:
        """The same without some replicas, and without what was said of those alone."""
        left = replace(self, servers=tuple(s for s in self.servers if s.name not in names))
        challenged, kept = left.of_role("challenger"), left.of_role("standby")
        return replace(
            left,
            percent=left.percent if challenged else 0,
            switching=left.switching and bool(challenged),
            standby_until=left.standby_until if kept else None,
        )

    def entries(self) -> tuple[Entry, ...]:
        """Every replica twice: as it takes its share, and as a backup.

        HAProxy cannot make a backup of a running server, but it can enable one and disable the
        other. Backups answer where no other server does: the standby's replicas, or, without a
        standby, those that serve: after failures they are better than nothing.
        """
        weights = self._weights()
        kept: Role = "standby" if self.of_role("standby") else "serving"
        found = []
        for server in self.servers:
            active = server.role != "standby"
            weight = weights.get(server.name, 0)
            found.append(Entry(server.name, server, weight, active, backup=False))
            found.append(Entry(server.standby_name, server, 1, server.role == kept, backup=True))
        return tuple(found)

    @property
    def second(self) -> str:
        """The entry that is asked again what another has answered with 500; empty for any.

        What a challenger fails on, the champion answers; what the champion fails on, the standby.
        """
        serving, standby = self.of_role("serving"), self.of_role("standby")
        if self.of_role("challenger") and serving:
            return serving[0].name
        return standby[0].standby_name if standby else ""

    def _weights(self) -> dict[str, int]:
        serving, challengers = self.of_role("serving"), self.of_role("challenger")
        percent = self.percent if challengers else 0
        shares = {server.name: (100 - percent) / len(serving) for server in serving}
        shares |= {server.name: percent / len(challengers) for server in challengers}
        largest = max(shares.values(), default=0) or 1
        return {
            name: max(1, round(HEAVIEST * share / largest)) if share else 0
            for name, share in shares.items()
        }


@dataclass(frozen=True)
class State:
    """All models of an environment, by name."""

    routes: Mapping[str, Route] = field(default_factory=dict)

    def route(self, model: str) -> Route:
        """What is known of the model; an empty route where nothing is."""
        return self.routes.get(model, Route(model))

    def with_route(self, route: Route) -> State:
        """The same, but for one model."""
        return State({**self.routes, route.model: route})


def read_state(file: Path) -> State:
    """What `write_state` wrote; empty where there is none. Raises TargetError."""
    try:
        said = json.loads(file.read_bytes())
        routes = [
            Route(**{**route, "servers": tuple(Server(**server) for server in route["servers"])})
            for route in said["routes"]
        ]
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TargetError(
            f"{file} cannot be read: {error}; remove it, and deploy the models again"
        ) from error
    return State({route.model: route for route in routes})


def write_state(file: Path, state: State) -> None:
    """Remember it; raises OSError."""
    content = {"routes": [asdict(state.routes[model]) for model in sorted(state.routes)]}
    write_atomically(file, json.dumps(content, indent=1).encode() + b"\n")
