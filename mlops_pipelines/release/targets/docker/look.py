"""What serves a model, from what is wanted, what runs and what the gateway does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_pipelines.release.gateway import admin
from mlops_pipelines.release.gateway.state import Role, Route
from mlops_pipelines.release.targets.docker.replicas import Found
from mlops_pipelines.release.targets.target import Replica, Service

Running = Mapping[str, admin.Running]


def shares(route: Route, running: Running) -> dict[int, int]:
    """Percent of the traffic by version, as the gateway deals it now; empty where none can take it.

    Servers that take a share come first; backups only where no other is up.
    """
    for backup in (False, True):
        weights: dict[int, int] = {}
        for entry in route.entries():
            now = running.get(entry.name)
            if entry.backup is backup and now is not None and _takes(now):
                version = entry.server.version
                weights[version] = weights.get(version, 0) + now.weight
        total = sum(weights.values())
        if total:
            return {version: round(100 * weight / total) for version, weight in weights.items()}
    return {}


def answering(route: Route, running: Running, living: Sequence[Found]) -> int | None:
    """The version that has the traffic: the serving one as long as it has any of it."""
    serving = route.version_of("serving")
    dealt = shares(route, running)
    if dealt:
        return serving if serving in dealt else max(dealt, key=lambda version: dealt[version])
    return serving if any(one.about.version == serving for one in living) else None


def service(route: Route, found: Sequence[Found], running: Running, address: str) -> Service:
    """The service as it is now: the version that really answers, whatever was wanted."""
    roles = {server.name: server.role for server in route.servers}
    living = [one for one in found if one.runs and one.name in roles]
    version = answering(route, running, living)
    served = [one for one in living if one.about.version == version]
    others = [one for one in living if one.about.version != version]

    def replica(one: Found, role: Role) -> Replica:
        healthy = any(
            name in running and running[name].up and not running[name].maintenance
            for name in (one.name, one.name + ".standby")
        )
        return Replica(one.name, one.about.version, one.about.bundle, role, healthy)

    return Service(
        model=route.model,
        address=address,
        version=version,
        bundle=served[0].about.bundle if served else "",
        replicas=tuple(replica(one, "serving") for one in served),
        wanted=route.wanted,
        others=tuple(
            # One that should serve and does not is nothing to go back to.
            replica(one, "challenger" if roles[one.name] == "serving" else roles[one.name])
            for one in others
        ),
        shares=shares(route, running),
    )


def _takes(now: admin.Running) -> bool:
    return now.up and now.weight > 0 and not now.maintenance and not now.drain
