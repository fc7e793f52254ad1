"""The steps of one release: traffic first, then the books."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from mlops_pipelines import record
from mlops_pipelines.errors import (
    MlopsError,
    NotFoundError,
    ReleaseError,
    TargetError,
    TrackingError,
)
from mlops_pipelines.logs import step
from mlops_pipelines.release.bundle import bundle_of
from mlops_pipelines.release.golden import rehearse
from mlops_pipelines.release.targets.target import Service, Target
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry, Version

ANSWER_SECONDS = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deployment:
    """A version that took the traffic, or had it already (`unchanged`).

    `previous` is the version that served before. `rehearsal` says whether the version to return to
    could take the traffic back; `quarantined` is the version that failed, after a rollback.
    """

    model: str
    version: int
    previous: int | None
    address: str
    replicas: int
    seconds: float
    rehearsal: str
    action: Literal["deploy", "rollback", "unchanged"]
    actor: str
    reason: str
    quarantined: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What happened, for a log line or an alert."""
        if self.action == "unchanged":
            return f"{self.model} version {self.version} serves at {self.address} already"
        verb = "rolled back to" if self.action == "rollback" else "deployed"
        before = f", in place of version {self.previous}" if self.previous is not None else ""
        why = f": {self.reason}" if self.reason else ""
        return (
            f"{verb} {self.model} version {self.version} at {self.address}{before} "
            f"({self.seconds:.1f} s, by {self.actor}){why}"
        )


class Move:
    """The steps of one release of a model, while its lock is held."""

    def __init__(self, registry: Registry, store: Store, target: Target, spec: ModelSpec) -> None:
        self._registry = registry
        self._store = store
        self._target = target
        self._spec = spec
        self._model = spec.name

    def serving(self) -> int | None:
        """The version that has the traffic."""
        service = self._target.service(self._model)
        return service.version if service else None

    def to(self, found: Version, actor: str, reason: str) -> Deployment:
        """Give the traffic to `found`, then write it down."""
        started = time.monotonic()
        before = self._target.service(self._model)
        served = before.version if before else None
        bundle = bundle_of(self._registry, self._store, self._model, found.version)
        back = self.return_to(found.version)
        with ThreadPoolExecutor(1) as pool:
            rehearsed = pool.submit(self._rehearse, back)
            with step(logger, "switch", model=self._model, version=found.version):
                release = self._spec.release
                service = self._target.switch(
                    self._model, bundle, self._replicas(before), release.port
                )
            with step(logger, "verify", model=self._model, version=found.version):
                self._verify(service, found.version, served)
            rehearsal = rehearsed.result()
        same = before is not None and before.bundle == service.bundle
        champion = self._registry.champion(self._model)
        if not same or champion != found.version:
            self._write(found.version, back, actor)
        older = served is not None and found.version < served
        return Deployment(
            model=self._model,
            version=found.version,
            previous=served if served != found.version else back,
            address=service.address,
            replicas=len(service.replicas),
            seconds=round(time.monotonic() - started, 3),
            rehearsal=rehearsal,
            action="unchanged" if same else ("rollback" if older else "deploy"),
            actor=actor,
            reason=reason,
        )

    def return_to(self, version: int) -> int | None:
        """Where a rollback from `version` would lead: never to a version in quarantine.

        What serves now, then the champion and `previous` of the books, then the version that was
        deployed last.
        """
        versions = {v.version: v for v in self._registry.versions(self._model)}
        fit = [
            v.version
            for v in versions.values()
            if v.version != version and record.QUARANTINED not in v.tags and record.BUNDLE in v.tags
        ]
        aliases = {alias: v.version for v in versions.values() for alias in v.aliases}
        first = (self.serving(), aliases.get(record.CHAMPION), aliases.get(record.PREVIOUS))
        named = next((v for v in first if v in fit), None)
        if named is not None:
            return named
        deployed = [v for v in fit if record.DEPLOYED_AT in versions[v].tags]
        return max(deployed, key=lambda v: versions[v].tags[record.DEPLOYED_AT], default=None)

    def mend_books(self) -> list[str]:
        """Let the books follow the traffic."""
        served, champion = self.serving(), self._registry.champion(self._model)
        if served is None or served == champion:
            return []
        self._write(served, self.return_to(served), "reconcile")
        named = f"version {champion}" if champion is not None else "no version"
        return [f"version {served} has the traffic and the books named {named}: mended"]

    def revive(self) -> list[str]:
        """Start the workers that are wanted and do not live."""
        service = self._target.service(self._model)
        if service is None or len(service.replicas) >= service.wanted:
            return []
        if service.version is not None:
            missing = service.wanted - len(service.replicas)
            self._target.scale(self._model, service.wanted)
            return [f"{missing} of {service.wanted} workers were missing: started"]
        champion = self._registry.champion(self._model)
        if champion is None:
            return []
        bundle = bundle_of(self._registry, self._store, self._model, champion)
        self._target.switch(self._model, bundle, service.wanted, self._spec.release.port)
        return [f"no worker lived: started version {champion} again"]

    def finish_rollback(self) -> list[str]:
        """Move on from a champion that was quarantined after it was deployed."""
        champion = self._registry.champion(self._model)
        if champion is None or champion != self.serving():
            return []
        tags = self._registry.version(self._model, champion).tags
        quarantined = tags.get(record.QUARANTINED_AT, "")
        if not quarantined or quarantined <= tags.get(record.DEPLOYED_AT, ""):
            return []
        back = self.return_to(champion)
        if back is None:
            return []
        found = self._registry.version(self._model, back)
        self.to(found, "reconcile", f"the rollback from version {champion} was interrupted")
        return [f"the rollback from version {champion} was interrupted: version {back} serves"]

    def _replicas(self, service: Service | None) -> int:
        """As many as run now, within the declared bounds."""
        bounds = self._spec.release.replicas
        return min(max(service.wanted if service else 0, bounds.min), bounds.max)

    def _rehearse(self, version: int | None) -> str:
        if version is None:
            return "there is no earlier version to return to"
        try:
            bundle = bundle_of(self._registry, self._store, self._model, version)
        except MlopsError as error:
            return f"version {version} could not take the traffic back: {error}"
        holds, sentence = rehearse(bundle)
        if holds:
            return f"version {version} could take the traffic back: {sentence}"
        return f"version {version} could not take the traffic back: {sentence}"

    def _verify(self, service: Service, version: int, served: int | None) -> None:
        """Ask at the public address who answers; anyone else than `version` undoes the move."""
        reason = _unanswered(service.address, self._model, version)
        if reason is None:
            return
        moved = served is not None and served != version
        if not moved:
            raise TargetError(f"{self._model} version {version} was started, but {reason}")
        bundle = bundle_of(self._registry, self._store, self._model, served or 0)
        self._target.switch(self._model, bundle, service.wanted, self._spec.release.port)
        raise TargetError(
            f"{self._model} version {version} took the traffic, but {reason}; version {served} "
            "serves again"
        )

    def _write(self, version: int, back: int | None, actor: str) -> None:
        """Aliases and tags; `previous` first, so that the old champion is not forgotten."""
        try:
            with step(logger, "alias_previous", model=self._model, version=version):
                current = self._registry.previous(self._model)
                if back is not None:
                    self._registry.set_alias(self._model, record.PREVIOUS, back)
                elif current is not None:
                    self._registry.drop_alias(self._model, record.PREVIOUS)
            with step(logger, "alias_champion", model=self._model, version=version):
                self._registry.set_alias(self._model, record.CHAMPION, version)
            with step(logger, "tag", model=self._model, version=version):
                tags = {record.DEPLOYED_AT: now(), record.DEPLOYED_BY: actor}
                self._registry.tag(self._model, version, tags)
        except (TrackingError, NotFoundError) as error:
            raise ReleaseError(
                f"{self._model} version {version} has the traffic, but MLflow could not be told: "
                f"{error}; the next release, or the next tick of scale_services, mends it"
            ) from error


def _unanswered(address: str, model: str, version: int) -> str | None:
    """What is wrong with the answer at the public address; None if it is this version's."""
    request = urllib.request.Request(f"{address}/health/ready", headers={"connection": "close"})
    try:
        # A proxy of the environment has no business between this machine and itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=ANSWER_SECONDS) as response:
            said = json.load(response)
    except urllib.error.HTTPError as error:
        return f"{address} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{address} does not answer: {error}"
    if (said.get("model"), said.get("version")) != (model, version):
        return f"{address} is answered by {said.get('model')} version {said.get('version')}"
    return None


def now() -> str:
    """As tags hold times: they sort as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
