"""Leads a canary through its steps over a gateway, and back where anything is amiss."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mlops_pipelines.errors import MlopsError
from mlops_pipelines.logs import step
from mlops_pipelines.release.replay import Replay
from mlops_pipelines.release.strategy import progress
from mlops_pipelines.release.strategy.canary import (
    Compare,
    GoBack,
    Seen,
    State,
    Wait,
    Weigh,
    advanced,
    decide,
)
from mlops_pipelines.release.strategy.progress import Progress
from mlops_pipelines.release.targets.target import Replica, Service, WeightedTarget
from mlops_pipelines.release_spec import Canary


@dataclass(frozen=True)
class Clock:
    """Seconds that pass while this process lives, and a way to let them."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Versions:
    """Who serves, who challenges, and from which folder the challenger's replicas start."""

    model: str
    champion: int
    challenger: int
    bundle: Path
    replicas: int


@dataclass(frozen=True)
class Driven:
    """How a canary ended: with all traffic, or at `percent` with what spoke against it.

    `steps` says what each showed. `blame` is whether the fault is one of the challenger.
    """

    steps: tuple[str, ...]
    percent: int
    fault: str = ""
    blame: bool = False


def drive(
    target: WeightedTarget,
    declared: Canary,
    versions: Versions,
    compare: Callable[[datetime], Replay | None],
    log: logging.Logger,
    clock: Clock,
) -> Driven:
    """Give the challenger its steps of traffic, and all of it after the last.

    Each move is written down before it is made. Where the challenger shows a fault, the deadline
    passes, or the target fails, it says so and leaves the way back to its caller. `compare` asks
    the challenger what the champion answered since a time.
    """
    model = versions.model
    kept = Progress("canary", versions.champion, versions.challenger, 0)
    state = State(versions.champion, versions.challenger, clock.now(), clock.now())
    began = datetime.now(UTC)
    try:
        progress.keep(target, model, kept)
        with step(log, "challenge", model=model, version=versions.challenger):
            target.challenge(model, versions.bundle, versions.replicas)
        state = replace(state, base=target.traffic(model))
        while True:
            seen = _look(target, state, model)
            action = decide(declared, state, seen, clock.now())
            match action:
                case Wait():
                    clock.sleep(action.seconds)
                case Compare():
                    state = replace(state, compared=True, replay=compare(began))
                case GoBack():
                    return Driven(state.passed, state.percent, action.why, action.blame)
                case Weigh():
                    kept = replace(kept, percent=action.percent)
                    progress.keep(target, model, kept)
                    with step(
                        log,
                        "canary",
                        model=model,
                        version=versions.challenger,
                        percent=action.percent,
                        seen=action.why or "it is ready",
                    ):
                        target.weigh(model, versions.challenger, action.percent)
                    state = advanced(state, action, seen, clock.now())
                    began = datetime.now(UTC)
                    if action.percent == 100:
                        return Driven(state.passed, 100)
    except MlopsError as error:
        if kept.percent == 100 and _serves(target, model) == versions.challenger:
            return Driven(state.passed, 100)
        return Driven(state.passed, state.percent, str(error))


def _look(target: WeightedTarget, state: State, model: str) -> Seen:
    service = target.service(model)
    return Seen(
        serving=service.version if service else None,
        healthy=any(one.healthy for one in _challengers(service, state.challenger)),
        traffic=target.traffic(model),
        stop=progress.asked_to_stop(target, model),
    )


def _challengers(service: Service | None, version: int) -> list[Replica]:
    return [one for one in service.others if one.version == version] if service else []


def _serves(target: WeightedTarget, model: str) -> int | None:
    try:
        service = target.service(model)
    except MlopsError:
        return None
    return service.version if service else None
