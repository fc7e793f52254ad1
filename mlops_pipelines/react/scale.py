"""How many replicas of a service there should be, from what they did since the last look.

Up at once, at most to twice as many; down one at a time, and only after a cool-down in which the
present number was never needed. So a constant load ends at one number, and stays there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_pipelines.release.targets.scrape import Sample
from mlops_pipelines.release.targets.target import Service, Usage
from mlops_pipelines.release_spec import Release

LEAST_SECONDS = 5.0
"""Between two looks, for a share of CPU to mean anything."""

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Load:
    """What the replicas that serve had done at the time `at` (seconds since 1970), by their names.

    `cpu_seconds` since each started; `in_flight` requests, those that wait for the model included,
    of those replicas that told.
    """

    at: float
    replicas: tuple[str, ...]
    cpu_seconds: Mapping[str, float]
    in_flight: Mapping[str, float]


@dataclass(frozen=True)
class Decision:
    """How many replicas are `wanted`, and why; the sentence is empty where nothing changes.

    `needed_at` is when as many as there are now were last needed, or last changed.
    """

    wanted: int
    needed_at: float
    sentence: str = ""


def load_of(
    service: Service,
    usage: Sequence[Usage],
    pages: Mapping[str, Sequence[Sample]],
    at: float,
) -> Load:
    """What the replicas that take traffic do: from the target, and from their own metrics."""
    names = {replica.name for replica in service.replicas}
    in_flight = {
        name: sum(sample.value for sample in page if sample.name == "mlops_inflight")
        for name, page in pages.items()
        if name in names
    }
    cpu = {each.replica: each.cpu_seconds for each in usage if each.replica in names}
    return Load(at, tuple(sorted(names)), cpu, in_flight)


def decide(
    release: Release, cores: float, wanted: int, now: Load, before: Load | None, needed_at: float
) -> Decision:
    """What follows for a service of which `wanted` replicas are wanted, each with so many `cores`.

    A replica that was not measured both times counts as idle where more may be needed, and as a
    reason to wait where fewer may be. Nothing changes without a measurement, or where the two are
    less than LEAST_SECONDS apart; but what the declaration says of min and max always holds.
    """
    low, high = release.replicas.min, release.replicas.max
    if not low <= wanted <= high:
        bound = min(max(wanted, low), high)
        said = f"{wanted} → {bound} replicas: the declaration wants {low} to {high}"
        return Decision(bound, now.at, said)
    if before is None or now.at - before.at < LEAST_SECONDS:
        return Decision(wanted, needed_at)
    shares = _cpu_shares(now, before, cores)
    measured = [name for name in now.replicas if name in shares and name in now.in_flight]
    if not measured:
        return Decision(wanted, needed_at)
    busy = sum(shares[name] for name in measured)
    asked = sum(now.in_flight[name] for name in measured)
    needed = max(_ceiling(busy / release.scale.cpu), _ceiling(asked / release.scale.in_flight), low)
    said = (
        f"together they are busy on {busy:.2f} × {cores:g} cores and answer {asked:g} requests at "
        f"one time; each may be busy to {release.scale.cpu:.0%} and answer "
        f"{release.scale.in_flight:g}"
    )
    if needed > wanted:
        more = min(needed, 2 * wanted, high)
        if more == wanted:
            return Decision(wanted, now.at)
        return Decision(more, now.at, f"{wanted} → {more} replicas: {said}")
    if needed == wanted or len(measured) < wanted:
        return Decision(wanted, now.at)
    if now.at - needed_at < release.scale.cooldown_seconds:
        return Decision(wanted, needed_at)
    idle = f"for {now.at - needed_at:.0f} s {wanted} were never needed; {said}"
    return Decision(wanted - 1, now.at, f"{wanted} → {wanted - 1} replicas: {idle}")


def cores_of(kind: str, release: Release) -> float:
    """The cores of a replica: what its container may use, or the one that a process answers on."""
    return 1.0 if kind == "process" else release.resources.cpus


def to_json(load: Load) -> dict[str, Any]:
    """What the next decision needs of a measurement."""
    return {"at": load.at, "cpu_seconds": dict(load.cpu_seconds)}


def from_json(said: Mapping[str, Any]) -> Load:
    """The measurement that `to_json` wrote."""
    cpu = {str(name): float(value) for name, value in said["cpu_seconds"].items()}
    return Load(float(said["at"]), tuple(sorted(cpu)), cpu, {})


def _cpu_shares(now: Load, before: Load, cores: float) -> dict[str, float]:
    """The share of its cores that each replica used meanwhile; none for one that began again."""
    seconds = (now.at - before.at) * cores
    return {
        name: (now.cpu_seconds[name] - before.cpu_seconds[name]) / seconds
        for name in now.cpu_seconds
        if now.cpu_seconds[name] >= before.cpu_seconds.get(name, math.inf)
    }


def _ceiling(needed: float) -> int:
    return math.ceil(needed - _ROUNDING)
