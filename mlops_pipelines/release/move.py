"""The steps of one release: traffic first, then the books.

Behind a gateway each move is written down before it is made (strategy.progress), so that who comes
after a killed run can tell a move that was begun from traffic that the gateway moved by itself.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_pipelines.errors import (
    MlopsError,
    ReleaseError,
    TargetError,
)
from mlops_pipelines.logs import step
from mlops_pipelines.release import ledger
from mlops_pipelines.release.answering import unanswered
from mlops_pipelines.release.bundle import bundle_named, bundle_of
from mlops_pipelines.release.deployment import Deployment
from mlops_pipelines.release.golden import rehearsal
from mlops_pipelines.release.logged import logged_since
from mlops_pipelines.release.replay import Replay, replay_beside_log
from mlops_pipelines.release.strategy import progress
from mlops_pipelines.release.strategy.drive import Clock, Versions, drive
from mlops_pipelines.release.strategy.progress import Progress
from mlops_pipelines.release.targets.target import Service, Target, WeightedTarget
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

ATTEMPTS = 3
"""So often a target is asked to take the traffic back, one second apart."""
CLOCK = Clock()
ROLLED_BACK = "rolled back"
"""Why a version is in quarantine where nobody gave a reason."""

logger = logging.getLogger(__name__)


class Move:
    """The steps of one release of a model, while its lock is held.

    `log` is told of each step of a canary, which may take an hour.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        target: Target,
        spec: ModelSpec,
        log: logging.Logger = logger,
        clock: Clock = CLOCK,
    ) -> None:
        self.registry = registry
        self.store = store
        self.target = target
        self.spec = spec
        self.model = spec.name
        self._log = log
        self._clock = clock

    def serving(self) -> int | None:
        """The version that has the traffic."""
        service = self.target.service(self.model)
        return service.version if service else None

    def bundle(self, version: int) -> Path:
        """The folder of a version's bundle; raises ReleaseError where it has none."""
        return bundle_of(self.registry, self.store, self.model, version)

    def to(
        self,
        found: Version,
        actor: str,
        reason: str,
        gradually: bool = False,
        failed: int | None = None,
    ) -> Deployment:
        """Give the traffic to `found`, then write it down; `gradually` as is declared.

        A version that `failed` is quarantined: once it has no traffic, which comes first.
        """
        started = time.monotonic()
        before = self.target.service(self.model)
        served = before.version if before else None
        bundle = bundle_named(self.store, found)
        steps: tuple[str, ...] = ()
        if gradually and before is not None and served not in (None, found.version):
            steps = self._step_by_step(found.version, before, bundle)
        service = self._switch(found.version, before, bundle)
        with step(logger, "verify", model=self.model, version=found.version):
            self._verify(service, found.version, served)
        same = before is not None and before.bundle == service.bundle
        with ThreadPoolExecutor(1) as pool, ledger.telling(self.model, found.version):
            if failed is not None:
                ledger.quarantine(self.registry, self.model, failed, reason or ROLLED_BACK)
            back = ledger.return_to(self.registry, self.model, found.version, served)
            rehearsed = pool.submit(rehearsal(back, self.bundle))
            if not same or self.registry.champion(self.model) != found.version:
                ledger.write(self.registry, self.model, found.version, back, actor)
            self.over(found.version)
            said = rehearsed.result()
        older = served is not None and found.version < served
        return Deployment(
            model=self.model,
            version=found.version,
            previous=served if served != found.version else back,
            address=service.address,
            replicas=len(service.replicas),
            seconds=round(time.monotonic() - started, 3),
            rehearsal=said,
            action="unchanged" if same else ("rollback" if older else "deploy"),
            actor=actor,
            reason=reason,
            strategy="canary" if steps else "blue_green",
            steps=steps,
            shares=dict(service.shares),
            standby=service.standby,
        )

    def rollback(self, found: Version, actor: str, reason: str, failed: int) -> Deployment:
        """Give the traffic to `found` at once; quarantine the version that failed, and end it.

        Behind a gateway a note on the disk is all that is written before: whoever comes after a
        run that was killed finds there what is left to do.
        """
        why = reason or ROLLED_BACK
        if isinstance(self.target, WeightedTarget):
            note = Progress("rollback", failed, found.version, 100, why=why)
            progress.keep(self.target, self.model, note)
        else:
            ledger.quarantine(self.registry, self.model, failed, why)
        try:
            done = self.to(found, actor, reason, failed=failed)
        except MlopsError:
            # It may go on serving: the next tick tries again.
            with suppress(MlopsError):
                ledger.quarantine(self.registry, self.model, failed, why)
            raise
        self.expel(failed)
        standby = None if done.standby == failed else done.standby
        return replace(
            done, action="rollback", previous=failed, quarantined=failed, standby=standby
        )

    def return_to(self, version: int, serving: int | None) -> int | None:
        """Where a rollback from `version` would lead: never to a version in quarantine."""
        return ledger.return_to(self.registry, self.model, version, serving)

    def take_back(self, left: Progress) -> int | None:
        """Give all traffic to the version that had it before `left`, and end the other.

        Where the one before does not answer any more and the gateway has given its traffic to the
        other already, that one keeps it. Returns who has it.
        """
        service = self.target.service(self.model)
        serving = service.version if service else None
        winner, loser = left.before, left.version
        if winner is not None and serving != winner:
            replicas, port = self._replicas(service), self.spec.release.port
            try:
                self.target.switch(self.model, self.bundle(winner), replicas, port)
            except TargetError:
                if serving != left.version:
                    raise
                winner, loser = loser, winner
                self.target.switch(self.model, self.bundle(winner), replicas, port)
        self.expel(loser)
        if winner is not None:
            self.over(winner)
        return winner

    def expel(self, version: int) -> bool:
        """End what runs of a version beside the one that serves; False where nothing does."""
        service = self.target.service(self.model)
        if service is None or service.version == version:
            return False
        if not isinstance(self.target, WeightedTarget):
            return False
        if version not in service.shares and all(one.version != version for one in service.others):
            return False
        self.target.withdraw(self.model, version)
        return True

    def over(self, version: int) -> None:
        """Behind a gateway: remember that `version` was given all traffic, and by us."""
        if isinstance(self.target, WeightedTarget):
            progress.finish(self.target, self.model, version)

    def _switch(self, version: int, before: Service | None, bundle: Path) -> Service:
        served = before.version if before else None
        if isinstance(self.target, WeightedTarget) and served != version:
            last = progress.progress_of(self.target, self.model)
            noted = last is not None and not last.over and last.version == version
            if not noted:
                progress.keep(self.target, self.model, Progress("blue_green", served, version, 100))
        with step(logger, "switch", model=self.model, version=version):
            try:
                return self.target.switch(
                    self.model, bundle, self._replicas(before), self.spec.release.port
                )
            except MlopsError:
                # What is noted of a rollback is still to be done.
                if served is not None and not self._rolls_back() and self.serving() == served:
                    self.over(served)
                raise

    def _rolls_back(self) -> bool:
        if not isinstance(self.target, WeightedTarget):
            return False
        last = progress.progress_of(self.target, self.model)
        return last is not None and not last.over and last.strategy == "rollback"

    def _step_by_step(self, version: int, before: Service, bundle: Path) -> tuple[str, ...]:
        """Lead a canary to all traffic, as far as it is declared; raises ReleaseError."""
        champion, declared = before.version, self.spec.release
        if declared.strategy != "canary" or champion is None or version < champion:
            return ()
        target = self.target
        if not isinstance(target, WeightedTarget):
            said = f"target {target.kind} has no gateway: it took all traffic at once"
            self._log.info(f"{self.model} version {version}: {said}")
            return (said,)
        versions = Versions(self.model, champion, version, bundle, self._replicas(before))
        left = Progress("canary", champion, version, 0)
        try:
            done = drive(
                target,
                declared.canary,
                versions,
                partial(self._compare, versions),
                self._log,
                self._clock,
            )
        except BaseException:
            self.take_back(left)
            raise
        if done.percent == 100:
            return done.steps
        if done.blame:
            ledger.quarantine(
                self.registry, self.model, version, f"canary at {done.percent} %: {done.fault}"
            )
        raise ReleaseError(
            f"{self.model} version {version} was taken back at {done.percent} % of the traffic: "
            f"{done.fault}; {self._back(left)}"
        )

    def _compare(self, versions: Versions, since: datetime) -> Replay | None:
        """How the challenger answers what the champion answered since then; None for nothing."""
        most, log_dir = self.spec.release.shadow.rows, self.target.log_dir(self.model)
        rows = logged_since(log_dir, versions.champion, since, most) if most else ()
        return replay_beside_log(rows, versions.bundle) if rows else None

    def _back(self, left: Progress) -> str:
        """The traffic goes back; what can be said of it. A target that fails is asked again."""
        for attempt in reversed(range(ATTEMPTS)):
            try:
                back = self.take_back(left)
                break
            except MlopsError as error:
                if not attempt:
                    return f"the way back failed ({error}); the next tick of scale_services goes it"
                self._clock.sleep(1.0)
        if back != left.before:
            return f"version {back} has all traffic, since version {left.before} does not answer"
        service = self.target.service(self.model)
        reason = unanswered(service.address, self.model, back or 0) if service else "nothing runs"
        return f"version {back} has all traffic" + (f", but {reason}" if reason else "")

    def _replicas(self, service: Service | None) -> int:
        """As many as run now, within the declared bounds."""
        bounds = self.spec.release.replicas
        return min(max(service.wanted if service else 0, bounds.min), bounds.max)

    def _verify(self, service: Service, version: int, served: int | None) -> None:
        """Ask at the public address who answers; anyone else than `version` undoes the move."""
        reason = unanswered(service.address, self.model, version)
        if reason is None:
            return
        moved = served is not None and served != version
        if not moved:
            raise TargetError(f"{self.model} version {version} was started, but {reason}")
        back = self.take_back(Progress("blue_green", served, version, 100))
        raise TargetError(
            f"{self.model} version {version} took the traffic, but {reason}; version {back} "
            f"serves {'again' if back == served else 'on'}"
        )
