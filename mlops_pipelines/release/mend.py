"""What makes reality and books agree after a crash, or after the gateway moved the traffic."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_pipelines import record
from mlops_pipelines.release import ledger
from mlops_pipelines.release.deployment import Deployment
from mlops_pipelines.release.move import Move
from mlops_pipelines.release.strategy import progress
from mlops_pipelines.release.strategy.progress import Progress
from mlops_pipelines.release.targets.target import WeightedTarget


@dataclass(frozen=True)
class Mended:
    """What was mended, a sentence each; `moved` is a rollback that the gateway had begun."""

    sentences: tuple[str, ...]
    moved: Deployment | None = None

    def __bool__(self) -> bool:
        return bool(self.sentences)

    def __str__(self) -> str:
        return "; ".join(self.sentences)


def mend(move: Move) -> Mended:
    """Everything that may be amiss, in order, while the lock of the model is held."""
    failed = lost(move, *_said(move))
    # Now: tidying ends the replicas that could tell.
    why = _condition(move, failed) if failed is not None else ""
    said = [*move.target.tidy(move.model), *undo(move)]
    moved = follow_gateway(move, why)
    said += [moved.reason] if moved else []
    said += [*revive(move), *mend_books(move), *finish_rollback(move), *expel_failed(move)]
    return Mended(tuple(said), moved)


def undo(move: Move) -> list[str]:
    """Take back the traffic that a killed canary had given, unless it had given all of it.

    What a killed rollback was to leave is quarantined: `finish_rollback` does what else is missing.
    """
    left = _last(move)
    if left is None or left.over:
        return []
    if left.strategy == "rollback" and left.before is not None:
        ledger.quarantine(move.registry, move.model, left.before, left.why)
    if left.strategy != "canary":
        return []
    if left.percent == 100 and move.serving() == left.version:
        return []
    back = move.take_back(left)
    return [
        f"the canary of version {left.version} was interrupted at {left.percent} %: "
        f"version {back} has all traffic"
    ]


def lost(move: Move, served: int | None, champion: int | None) -> int | None:
    """The champion, where the gateway gave its traffic to another version by itself.

    `served` is what has the traffic, `champion` who has it by the books.
    """
    last = _last(move)
    if last is None or not last.over or served in (None, last.version):
        return None
    return last.version if champion == last.version else None


def follow_gateway(move: Move, why: str = "") -> Deployment | None:
    """Make it last that the gateway took the traffic from a version: it is quarantined and ends.

    Otherwise it would get the traffic back as soon as it answers a health check again. `why` is
    what was seen of it; by default it is looked at now.
    """
    failed = lost(move, *_said(move))
    service = move.target.service(move.model)
    if failed is None or service is None or service.version is None:
        return None
    reason = f"lost its traffic at the gateway: {why or _condition(move, failed)}"
    ledger.quarantine(move.registry, move.model, failed, reason)
    found = move.registry.version(move.model, service.version)
    return move.rollback(found, "gateway", f"version {failed} {reason}", failed)


def revive(move: Move) -> list[str]:
    """Start the replicas that are wanted and do not live."""
    service = move.target.service(move.model)
    if service is None or len(service.replicas) >= service.wanted:
        return []
    if service.version is not None:
        missing = service.wanted - len(service.replicas)
        move.target.scale(move.model, service.wanted)
        return [f"{missing} of {service.wanted} workers were missing: started"]
    champion = move.registry.champion(move.model)
    if champion is None:
        return []
    move.target.switch(move.model, move.bundle(champion), service.wanted, move.spec.release.port)
    return [f"no worker lived: started version {champion} again"]


def mend_books(move: Move) -> list[str]:
    """Let the books follow the traffic."""
    served, champion = move.serving(), move.registry.champion(move.model)
    if served is None:
        return []
    said = []
    if served != champion:
        back = move.return_to(served, served)
        with ledger.telling(move.model, served):
            ledger.write(move.registry, move.model, served, back, "reconcile")
        named = f"version {champion}" if champion is not None else "no version"
        said = [f"version {served} has the traffic and the books named {named}: mended"]
    last = _last(move)
    if last is None or not last.over or last.version != served:
        move.over(served)
    return said


def finish_rollback(move: Move) -> list[str]:
    """Move on from a champion that was quarantined after it was deployed."""
    champion = move.registry.champion(move.model)
    if champion is None or champion != move.serving():
        return []
    tags = move.registry.version(move.model, champion).tags
    quarantined = tags.get(record.QUARANTINED_AT, "")
    if not quarantined or quarantined <= tags.get(record.DEPLOYED_AT, ""):
        return []
    back = move.return_to(champion, champion)
    if back is None:
        return []
    found = move.registry.version(move.model, back)
    reason = f"the rollback from version {champion} was interrupted"
    move.rollback(found, "reconcile", reason, champion)
    return [f"{reason}: version {back} serves"]


def expel_failed(move: Move) -> list[str]:
    """A version in quarantine is not kept warm."""
    service = move.target.service(move.model)
    said = []
    for version in sorted({one.version for one in service.others} if service else ()):
        tags = move.registry.version(move.model, version).tags
        if record.QUARANTINED in tags and move.expel(version):
            said.append(f"version {version}, which is in quarantine, was ended")
    return said


def _said(move: Move) -> tuple[int | None, int | None]:
    """Who has the traffic, and who has it by the books."""
    return move.serving(), move.registry.champion(move.model)


def _last(move: Move) -> Progress | None:
    if not isinstance(move.target, WeightedTarget):
        return None
    return progress.progress_of(move.target, move.model)


def _condition(move: Move, version: int) -> str:
    """What is seen of a version that lost its traffic: of its replicas, and its answers."""
    service = move.target.service(move.model)
    living = [one for one in service.others if one.version == version] if service else []
    healthy = sum(one.healthy for one in living)
    said = f"{healthy} of its {len(living)} replicas are healthy"
    if not living:
        said = "none of its replicas lives"
    if not isinstance(move.target, WeightedTarget):
        return said
    counted = move.target.traffic(move.model).get(version)
    if counted is None or not counted.errors:
        return said
    return f"{said}; {counted.errors} of its {counted.requests} answers failed"
