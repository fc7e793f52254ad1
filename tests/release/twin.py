"""A target with a gateway that lives in memory, and the books beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from mlops_pipelines import record
from mlops_pipelines.errors import BusyError, MlopsError, NotFoundError, TargetError, TrackingError
from mlops_pipelines.release.targets.scrape import Sample
from mlops_pipelines.release.targets.target import Replica, Service, Traffic, Usage
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Version

Role = Literal["serving", "challenger", "standby"]
HOST = "127.0.0.1"


class Killed(BaseException):
    """The run is gone: it does nothing any more, not even to clean up."""


@dataclass
class Faults:
    """What goes wrong, by the number of the call: before it has its effect, or after.

    Once `dead`, every call raises Killed, as nothing of a killed run has an effect.
    """

    fail_before: set[int] = field(default_factory=set)
    fail_after: set[int] = field(default_factory=set)
    kill_at: int | None = None
    calls: int = 0
    dead: bool = False

    @contextmanager
    def call(self, what: str, error: type[MlopsError] = TargetError) -> Iterator[None]:
        """One call of the target or of the books."""
        if self.dead or self.calls == self.kill_at:
            self.dead = True
            raise Killed(what)
        number, self.calls = self.calls, self.calls + 1
        if number in self.fail_before:
            raise error(f"{what} failed before it did anything")
        yield
        if number in self.fail_after:
            raise error(f"{what} was done, and nobody was told")

    def reset(self) -> None:
        """All is well again, and whoever comes is another run."""
        self.fail_before, self.fail_after = set(), set()
        self.kill_at, self.calls, self.dead = None, 0, False


@dataclass(frozen=True)
class Running:
    """The replicas of one version."""

    version: int
    bundle: str
    replicas: int
    role: Role
    healthy: bool = True


class Twin:
    """A WeightedTarget of one model; `sick` versions start and then answer nothing.

    Its gateway moves traffic from a sick serving version to a standby that is well, and back when
    it is well again.
    """

    kind: Literal["docker"] = "docker"

    def __init__(self, home: Path, address: str) -> None:
        self.faults = Faults()
        self.sick: set[int] = set()
        self.counted: dict[int, Traffic] = {}
        self.running: dict[int, Running] = {}
        self.weights: dict[int, int] = {}
        self.wanted = 0
        self._home = home
        self._address = address
        self._lock = threading.Lock()

    @contextmanager
    def lock(self, model: str, who: str) -> Iterator[None]:
        """Held by one release of the model at a time."""
        if not self._lock.acquire(blocking=False):
            raise BusyError(f"{model}: another release holds the lock, and {who} must wait")
        try:
            yield
        finally:
            self._lock.release()

    def state_dir(self, model: str) -> Path:
        """The folder for what must be remembered; a killed run writes nothing more."""
        with self.faults.call("state_dir"):
            return self._home / model

    def log_dir(self, model: str) -> Path:
        """Where the replicas write the prediction log: these write none."""
        return self._home / model / "log"

    def service(self, model: str) -> Service | None:
        """What runs now."""
        with self.faults.call("service"):
            serving = self.answering()
            found = self.running.get(serving) if serving is not None else None
            if not self.running and not self.wanted:
                return None
            return Service(
                model=model,
                address=self._address,
                version=serving,
                bundle=found.bundle if found else "",
                replicas=self._replicas(found) if found else (),
                wanted=self.wanted,
                others=tuple(
                    replica
                    for each in self.running.values()
                    if each.version != serving
                    for replica in self._replicas(each)
                ),
                shares=self.shares(),
            )

    def switch(self, model: str, bundle: Path, replicas: int, port: int | None = None) -> Service:
        """All traffic to `bundle`; what served is the standby."""
        said = json.loads((bundle / "manifest.json").read_bytes())
        version, digest = said["version"], said["digest"]
        with self.faults.call("switch"):
            serving = [v for v, each in self.running.items() if each.role == "serving"]
            if version in self.sick:
                raise TargetError(f"{model}: version {version} does not answer its golden rows")
            if serving != [version]:
                self.running = {v: replace(self.running[v], role="standby") for v in serving}
            self.running[version] = Running(version, digest, replicas, "serving")
            self.wanted = replicas
            self.weights = {version: 100}
        found = self.service(model)
        assert found is not None
        return found

    def scale(self, model: str, replicas: int) -> Service:
        """Want so many replicas of what serves."""
        with self.faults.call("scale"):
            self.wanted = replicas
            serving = self.answering()
            if serving is not None:
                self.running[serving] = replace(self.running[serving], replicas=replicas)
        found = self.service(model)
        assert found is not None
        return found

    def stop(self, model: str) -> None:
        """End everything."""
        self.running, self.weights, self.wanted = {}, {}, 0

    def tidy(self, model: str) -> tuple[str, ...]:
        """Nothing is left behind here."""
        with self.faults.call("tidy"):
            return ()

    def metrics(self, model: str) -> dict[str, tuple[Sample, ...]]:
        """Nothing is counted here."""
        return {}

    def usage(self, model: str) -> tuple[Usage, ...]:
        """Nothing is used here."""
        return ()

    def challenge(self, model: str, bundle: Path, replicas: int) -> Service:
        """Start `bundle` beside what serves."""
        said = json.loads((bundle / "manifest.json").read_bytes())
        version, digest = said["version"], said["digest"]
        with self.faults.call("challenge"):
            if version in self.sick:
                raise TargetError(f"{model}: version {version} does not answer its golden rows")
            self.running[version] = Running(version, digest, replicas, "challenger")
            self.weights[version] = 0
        found = self.service(model)
        assert found is not None
        return found

    def weigh(self, model: str, version: int, percent: int) -> None:
        """Give `percent` of the traffic to the challenger."""
        with self.faults.call("weigh"):
            if version not in self.running:
                raise TargetError(f"{model}: version {version} does not run")
            serving = next(v for v, each in self.running.items() if each.role == "serving")
            assert version != serving
            self.weights = {serving: 100 - percent, version: percent}
            if percent == 100:
                # One version is kept warm, not all that ever served.
                self.running = {
                    serving: replace(self.running[serving], role="standby"),
                    version: replace(self.running[version], role="serving"),
                }
                self.weights = {version: 100}

    def withdraw(self, model: str, version: int) -> None:
        """End a challenger or standby."""
        with self.faults.call("withdraw"):
            found = self.running.get(version)
            if found is not None and found.role == "serving":
                raise TargetError(f"{model}: version {version} serves")
            self.running.pop(version, None)
            self.weights.pop(version, None)

    def traffic(self, model: str) -> dict[int, Traffic]:
        """What the gateway counted."""
        with self.faults.call("traffic"):
            return {v: self.counted[v] for v in self.running if v in self.counted}

    def answering(self) -> int | None:
        """The version that the gateway takes for the one that serves.

        A challenger with some of the traffic gets all of it where the champion does not answer.
        """
        serving = [v for v, each in self.running.items() if each.role == "serving"]
        if serving and serving[0] in self.sick:
            well = [v for v in self.running if v not in self.sick]
            weighed = [v for v in well if self.weights.get(v)]
            standby = [v for v in well if self.running[v].role == "standby"]
            return (weighed + standby + serving)[0]
        return serving[0] if serving else None

    def shares(self) -> dict[int, int]:
        """The percent of traffic by version, as it is dealt now."""
        serving = self.answering()
        if serving is None:
            return {}
        weighed = {v: w for v, w in self.weights.items() if w and v not in self.sick}
        return weighed if sum(weighed.values()) == 100 else {serving: 100}

    def ask(self, requests: int = 100, failing: tuple[int, ...] = ()) -> None:
        """Callers ask; of what goes to `failing` versions every second answer fails."""
        for version, share in self.shares().items():
            mine = requests * share // 100
            errors = mine // 2 if version in failing or version in self.sick else 0
            was = self.counted.get(version, Traffic(0, 0, 0.0))
            self.counted[version] = Traffic(
                was.requests + mine, was.errors + errors, was.seconds + 0.003 * mine
            )

    def _replicas(self, each: Running) -> tuple[Replica, ...]:
        healthy = each.version not in self.sick
        return tuple(
            Replica(f"{each.version}-{n}", each.version, each.bundle, each.role, healthy)
            for n in range(each.replicas)
        )


class TwinBooks:
    """The part of the registry that a release needs, for versions 1 to `versions`."""

    def __init__(self, model: str, digests: Mapping[int, str], faults: Faults) -> None:
        self._model = model
        self._faults = faults
        self.tags: dict[int, dict[str, str]] = {
            version: {record.BUNDLE: digest} for version, digest in digests.items()
        }
        self.aliases: dict[str, int] = {}

    def version(self, model: str, version: int) -> Version:
        """One version."""
        with self._told("version"):
            return self._version(version)

    def versions(self, model: str) -> tuple[Version, ...]:
        """All, the newest first."""
        with self._told("versions"):
            return tuple(self._version(v) for v in sorted(self.tags, reverse=True))

    def champion(self, model: str) -> int | None:
        """The version that the books say serves."""
        with self._told("champion"):
            return self.aliases.get(record.CHAMPION)

    def previous(self, model: str) -> int | None:
        """The one before."""
        with self._told("previous"):
            return self.aliases.get(record.PREVIOUS)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let `alias` name it."""
        with self._told("set_alias"):
            self.aliases[alias] = version

    def drop_alias(self, model: str, alias: str) -> None:
        """Let it name none."""
        with self._told("drop_alias"):
            self.aliases.pop(alias, None)

    def tag(self, model: str, version: int, tags: Mapping[str, Any]) -> None:
        """Write tags."""
        with self._told("tag"):
            self.tags[version] |= {name: str(value) for name, value in tags.items()}

    def _told(self, what: str) -> AbstractContextManager[None]:
        return self._faults.call(what, TrackingError)

    def _version(self, version: int) -> Version:
        if version not in self.tags:
            raise NotFoundError(f"{self._model} has no version {version}")
        aliases = tuple(sorted(a for a, v in self.aliases.items() if v == version))
        return Version(
            self._model,
            version,
            f"run{version}",
            datetime.now(UTC),
            dict(self.tags[version]),
            {},
            {},
            aliases,
        )


def twin_bundles(store: Store, model: str, versions: int, folder: Path) -> dict[int, str]:
    """A bundle for each version that says which it is, and nothing else; their digests."""
    found = {}
    for version in range(1, versions + 1):
        digest = f"{version:016d}"
        made = folder / f"bundle-{version}"
        made.mkdir(parents=True)
        (made / "manifest.json").write_text(json.dumps({"version": version, "digest": digest}))
        store.put_folder(f"bundles/{model}/{digest}", made)
        found[version] = digest
    return found


@contextmanager
def front_door(model: str, answering: Callable[[], int | None]) -> Iterator[str]:
    """An address that says, as every server does, which version answers there."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            version = answering()
            body = json.dumps({"model": model, "version": version}).encode()
            self.send_response(503 if version is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer((HOST, 0), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
