"""Moves the traffic of a model from one version to another, and keeps MLflow's books after it.

Traffic moves first and the books follow: the alias `champion` names what serves. A run that is
killed in between leaves one version serving, and the next call here mends the books.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import BusyError, ReleaseError
from mlops_pipelines.release.deployment import Deployment
from mlops_pipelines.release.mend import (
    Mended,
    follow_gateway,
    lost,
    mend,
    mend_books,
    undo,
)
from mlops_pipelines.release.move import CLOCK, Move
from mlops_pipelines.release.strategy.drive import Clock
from mlops_pipelines.release.strategy.progress import ask_to_stop
from mlops_pipelines.release.targets.target import Target, WeightedTarget
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

__all__ = ["Deployment", "Mended", "reconcile", "release", "roll_back", "when_free"]

logger = logging.getLogger(__name__)


def release(
    registry: Registry,
    store: Store,
    target: Target,
    spec: ModelSpec,
    version: int,
    actor: str,
    *,
    reason: str = "",
    force: bool = False,
    log: logging.Logger = logger,
    clock: Clock = CLOCK,
) -> Deployment:
    """Put `version` in front of the traffic; an older one than the champion is a rollback by hand.

    A quarantined version is refused unless `force`. With strategy canary it takes the traffic step
    by step, of which `log` is told; one that shows a fault gives it back and is quarantined. Raises
    ReleaseError (BusyError where another release is under way), NotFoundError, TrackingError;
    unless the message says otherwise, what served before serves on.
    """
    with target.lock(spec.name, actor):
        move = Move(registry, store, target, spec, log, clock)
        found = registry.version(spec.name, version)
        if not force:
            _refuse_quarantined(found)
        undo(move)
        follow_gateway(move)
        mend_books(move)
        return move.to(found, actor, reason, gradually=True)


def roll_back(
    registry: Registry,
    store: Store,
    target: Target,
    spec: ModelSpec,
    to: int | None,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    failed: int | None = None,
) -> Deployment:
    """Take the traffic from the version that `failed` (default: what serves); quarantine it.

    `to` defaults to the alias `previous`, else to the version deployed last that is not in
    quarantine. Asked again after it was done or interrupted, it completes what is missing. Raises
    as `release` does; without a version to return to, or when that one does not answer, the
    failing one keeps serving.
    """
    with _stopping_a_canary(target, spec.name, actor), target.lock(spec.name, actor):
        move = Move(registry, store, target, spec)
        undo(move)
        # Callers wait for the version before: what can be read later is read later.
        serving, champion = move.serving(), registry.champion(spec.name)
        away = lost(move, serving, champion)
        failing = failed if failed is not None else away
        if failing is None:
            failing = _failing(registry, spec, serving, champion, to)
        if serving not in (None, failing, to) and not (
            # Where the gateway was faster, what is left is to make it last.
            away == failing or _was_left(registry, spec, failing, serving, champion)
        ):
            raise ReleaseError(
                f"{spec.name}: version {serving} serves by now, not version {failing} that was to "
                "be rolled back; nothing moved"
            )
        if to is None:
            to = serving if serving not in (None, failing) else move.return_to(failing, serving)
        if to is None:
            raise ReleaseError(
                f"{spec.name}: there is no version to roll back to: no other was ever deployed, or "
                f"all are in quarantine; version {failing} keeps serving. Name one with --to, or "
                "train another"
            )
        if to == failing:
            raise ReleaseError(
                f"{spec.name}: version {to} is the one that failed, so nothing can be rolled back "
                "to it; it keeps serving"
            )
        found = registry.version(spec.name, to)
        _refuse_quarantined(found)
        return replace(move.rollback(found, actor, reason, failing), evidence=evidence)


def when_free(attempt: Callable[[], Deployment], seconds: float) -> Deployment:
    """`attempt`, tried again for so many seconds while another release holds the lock.

    Raises BusyError after that; a release that was refused by the lock has changed nothing.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except BusyError as busy:
            if time.monotonic() >= deadline:
                raise
            logger.info("waiting: %s", busy)
            time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))


def reconcile(registry: Registry, store: Store, target: Target, spec: ModelSpec) -> Mended:
    """Make reality and books agree after a crash; says what was mended.

    A model that is being released right now is left alone. The traffic of a canary that was killed
    goes back, unless it had all of it. Else the books follow the traffic: where the gateway took it
    from the champion, that one is quarantined. Where no worker lives though some are wanted, the
    champion is started; missing workers are started; a rollback that was interrupted is completed.
    """
    try:
        with target.lock(spec.name, "reconcile"):
            return mend(Move(registry, store, target, spec))
    except BusyError:
        return Mended(())


@contextmanager
def _stopping_a_canary(target: Target, model: str, actor: str) -> Iterator[None]:
    """Where a canary holds the lock it is told to go back: a rollback cannot wait for an hour."""
    try:
        yield
    except BusyError as busy:
        if isinstance(target, WeightedTarget) and ask_to_stop(
            target, model, f"a rollback was asked for by {actor}"
        ):
            raise BusyError(
                f"{busy}: a canary is under way, and was told to go back, which takes seconds"
            ) from busy
        raise


def _failing(
    registry: Registry,
    spec: ModelSpec,
    serving: int | None,
    champion: int | None,
    to: int | None,
) -> int:
    """The version to take out of service: after an interrupted rollback, the old champion."""
    if serving is None:
        if champion is None:
            raise ReleaseError(f"{spec.name}: no version serves, so there is nothing to roll back")
        return champion
    if champion in (None, serving) or to not in (None, serving):
        return serving
    interrupted = record.QUARANTINED in registry.version(spec.name, champion).tags
    return champion if interrupted else serving


def _was_left(
    registry: Registry,
    spec: ModelSpec,
    failing: int,
    serving: int | None,
    champion: int | None,
) -> bool:
    """Whether the books say that a rollback has left `failing` already."""
    if champion not in (failing, serving):
        return False
    return record.QUARANTINED in registry.version(spec.name, failing).tags


def _refuse_quarantined(found: Version) -> None:
    why = found.tags.get(record.QUARANTINED)
    if why is not None:
        raise ReleaseError(
            f"{found.model} version {found.version} is in quarantine ({why}); what serves keeps "
            "serving. Deploy it with force: true if you know better"
        )
