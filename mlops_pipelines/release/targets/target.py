"""What every place where bundles run can do, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from mlops_pipelines.release.targets.scrape import Sample


@dataclass(frozen=True)
class Replica:
    """One worker process, container or pod that lives.

    `name` is the process id, or the container's or pod's name; `bundle` the digest it serves.
    `role` is what it is there for: `serving` takes traffic, `challenger` takes some or none while a
    rollout is under way, `standby` is kept warm to go back to. `healthy` is as the gateway sees it.
    """

    name: str
    version: int
    bundle: str
    role: Literal["serving", "challenger", "standby"] = "serving"
    healthy: bool = True


@dataclass(frozen=True)
class Service:
    """What runs of one model, and what is wanted.

    `version` and `bundle` are those of the replicas that take traffic: None and empty where none
    lives, though `wanted` are wanted. `address` is empty before the first deployment. `replicas`
    are those of `version`; `others` the ones of a challenger or a standby. `shares` is the percent
    of traffic by version, as the gateway deals it now.
    """

    model: str
    address: str
    version: int | None
    bundle: str
    replicas: tuple[Replica, ...]
    wanted: int
    others: tuple[Replica, ...] = ()
    shares: Mapping[int, int] = field(default_factory=dict)

    @property
    def standby(self) -> int | None:
        """The version that is kept warm to go back to."""
        return next((one.version for one in self.others if one.role == "standby"), None)


@dataclass(frozen=True)
class Usage:
    """What one replica has used since it started, and holds now.

    Seconds of CPU, bytes of memory, bytes over the network and to and from the disk; None where
    the target cannot tell.
    """

    replica: str
    version: int
    cpu_seconds: float
    memory_bytes: int
    memory_limit_bytes: int | None = None
    network_received_bytes: int | None = None
    network_sent_bytes: int | None = None
    disk_read_bytes: int | None = None
    disk_written_bytes: int | None = None


@dataclass(frozen=True)
class Traffic:
    """What the gateway counted of one version since its replicas are behind it.

    `errors` are answers of 500 and above, and requests that got none; `seconds` is the sum over
    the answers.
    """

    requests: int
    errors: int
    seconds: float


class Target(Protocol):
    """Where bundles run. Every method may raise TargetError; those that change, BusyError."""

    @property
    def kind(self) -> str:
        """process, docker or kubernetes."""
        ...

    def lock(self, model: str, who: str) -> AbstractContextManager[None]:
        """Held by one release of the model at a time; raises BusyError naming who holds it."""
        ...

    def state_dir(self, model: str) -> Path:
        """The folder for what must be remembered of the model's rollouts."""
        ...

    def log_dir(self, model: str) -> Path:
        """Where the replicas write the prediction log."""
        ...

    def service(self, model: str) -> Service | None:
        """What runs now; None where nothing does and nothing is wanted."""
        ...

    def switch(self, model: str, bundle: Path, replicas: int, port: int | None = None) -> Service:
        """Give all traffic of `model` to `replicas` of `bundle`; asked again, nothing happens.

        They must have answered their golden rows before; where that fails, the old ones serve on.
        """
        ...

    def scale(self, model: str, replicas: int) -> Service:
        """Want so many replicas of what serves, and let as many serve."""
        ...

    def stop(self, model: str) -> None:
        """End every replica of `model`, once it has answered what is in flight."""
        ...

    def tidy(self, model: str) -> tuple[str, ...]:
        """Undo what a killed run left behind, and end what is over; a sentence for each."""
        ...

    def metrics(self, model: str) -> dict[str, tuple[Sample, ...]]:
        """What each living replica counts, by its name; one that does not answer is left out."""
        ...

    def usage(self, model: str) -> tuple[Usage, ...]:
        """What each living replica uses, the standby's and challenger's too."""
        ...


@runtime_checkable
class WeightedTarget(Target, Protocol):
    """A target with a gateway: two versions may share the traffic."""

    def challenge(self, model: str, bundle: Path, replicas: int) -> Service:
        """Start `replicas` of `bundle` beside what serves; they are ready and take no traffic."""
        ...

    def weigh(self, model: str, version: int, percent: int) -> None:
        """Give `percent` (0 to 100) of the traffic to the challenger `version`.

        With 100 it is what serves, and what served before is the standby.
        """
        ...

    def withdraw(self, model: str, version: int) -> None:
        """Take a challenger or standby out: no traffic, then no replicas."""
        ...

    def traffic(self, model: str) -> dict[int, Traffic]:
        """What the gateway counted, by version."""
        ...
