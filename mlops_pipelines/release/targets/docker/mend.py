"""Makes containers and gateway agree, after a failure or a run that was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mlops_pipelines.release.gateway.gateway import Gateway
from mlops_pipelines.release.gateway.state import Route
from mlops_pipelines.release.targets.docker.look import answering
from mlops_pipelines.release.targets.docker.replicas import Found, Replicas, unready

FAILED_STOP_SECONDS = 5
"""How long a version that failed may still answer: nobody is sent to it any more."""


@dataclass(frozen=True)
class Mender:
    """Mends one model; `fill` starts the replicas that are missing of what serves."""

    gateway: Gateway
    replicas: Replicas
    model: str
    fill: Callable[[Route], None]

    def mend(self) -> tuple[str, ...]:
        """Do all that is needed; a sentence for each."""
        steps = (
            self._leftovers,
            self._addresses,
            self._settle,
            self._over,
            self._missing,
            self._restore,
        )
        done = [*self.gateway.agree(self.model)]
        for one in steps:
            done += one()
        # From here on errors are counted anew.
        self.gateway.traffic(self.model)
        return tuple(done)

    @property
    def _route(self) -> Route:
        return self.gateway.route(self.model)

    def _found(self) -> dict[str, Found]:
        return {one.name: one for one in self.replicas.found(self.model)}

    def _leftovers(self) -> list[str]:
        """End containers that the gateway never heard of, and a switch's that came to nothing."""
        route = self._route
        begun = {s.name for s in route.of_role("challenger")} if route.switching else set()
        known = {server.name for server in route.servers} - begun
        left = [one for name, one in self._found().items() if name not in known]
        if begun:
            self.gateway.change(self.model, lambda r: r.without(begun))
        if not left:
            return []
        self.replicas.end(left)
        return [f"ended {_counted(len(left))} that an interrupted run had left"]

    def _settle(self) -> list[str]:
        """Where the gateway went to another version by itself, let that be what serves."""
        found, route = self._found(), self._route
        living = [one for one in found.values() if one.runs]
        version = answering(route, self.gateway.running(self.model), living)
        serving = route.version_of("serving")
        if serving is None or version in (None, serving):
            return []
        if self._fails_as_well(route, found):
            names = [server.name for server in route.of_role("serving")]
            self.gateway.restore(self.model, names)
            return [
                f"version {serving} lost the traffic over requests that version {version} fails on "
                f"as well: version {serving} has it again"
            ]
        took = next(s.bundle for s in route.servers if s.version == version and s.role != "serving")
        failed = {server.name for server in route.of_role("serving")}
        self.gateway.change(
            self.model,
            lambda r: replace(
                r.without(failed).with_roles({took: "serving"}), percent=0, standby_until=None
            ),
        )
        self.replicas.end([found[n] for n in failed if n in found], FAILED_STOP_SECONDS)
        return [
            f"version {serving} failed, and the gateway gave its traffic to version {version}; the "
            f"replicas of version {serving} are ended"
        ]

    def _fails_as_well(self, route: Route, found: dict[str, Found]) -> bool:
        """Whether it is the requests: what failed is sound, and the standby fails on them too."""
        serving = route.of_role("serving")
        if not all(s.name in found and unready(found[s.name]) is None for s in serving):
            return False
        # Since it was looked at last: the standby has had a second try at each, then all traffic.
        errors = self.gateway.errors_since(self.model)
        mine = sum(errors.get(server.name, 0) for server in serving)
        theirs = sum(errors.get(server.standby_name, 0) for server in route.of_role("standby"))
        return 0 < mine <= 2 * theirs

    def _addresses(self) -> list[str]:
        """A container that the engine started again may have another address."""
        found = self._found()
        moved = {
            server.name: found[server.name].address
            for server in self._route.servers
            if server.name in found and found[server.name].address not in ("", server.address)
        }
        if not moved:
            return []
        self.gateway.change(
            self.model,
            lambda r: replace(
                r,
                servers=tuple(replace(s, address=moved.get(s.name, s.address)) for s in r.servers),
            ),
        )
        return [f"{_counted(len(moved))} had another address after a restart: the gateway knows it"]

    def _over(self) -> list[str]:
        """End a standby whose time is over, and forget what has died of a challenger or standby."""
        route, found = self._route, self._found()
        over = route.standby_until is not None and time.time() >= route.standby_until
        gone, done = set(), []
        for server in route.servers:
            runs = server.name in found and found[server.name].runs
            if server.role == "standby" and over:
                gone.add(server.name)
            elif server.role != "serving" and not runs:
                gone.add(server.name)
                done.append(f"a replica of the {server.role}, version {server.version}, had ended")
        if not gone:
            return []
        if over:
            done.append(f"version {route.version_of('standby')} was kept warm long enough: ended")
        self.gateway.change(self.model, lambda r: r.without(gone))
        self.replicas.end([one for name, one in found.items() if name in gone])
        return done

    def _missing(self) -> list[str]:
        route, found = self._route, self._found()
        living = [s for s in route.of_role("serving") if s.name in found and found[s.name].runs]
        missing = route.wanted - len(living)
        if not route.of_role("serving") or missing <= 0:
            return []
        self.fill(route)
        still = route.wanted - len(self._route.of_role("serving"))
        return [f"{_counted(missing - still)} of {route.wanted} did not run: started anew"]

    def _restore(self) -> list[str]:
        """Give a serving replica that failed a moment ago, and is sound now, its share again."""
        found, running = self._found(), self.gateway.running(self.model)
        sound = [
            server.name
            for server in self._route.of_role("serving")
            if server.name in running
            and not running[server.name].up
            and server.name in found
            and unready(found[server.name]) is None
        ]
        if not sound:
            return []
        self.gateway.restore(self.model, sound)
        return [f"{_counted(len(sound))} had failed and answers again: given its share again"]


def _counted(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"
