"""What a release reads in MLflow's book of versions, and writes there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError, TrackingError
from mlops_pipelines.logs import step

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

logger = logging.getLogger(__name__)


def return_to(registry: Registry, model: str, version: int, serving: int | None) -> int | None:
    """Where a rollback from `version` would lead: never to a version in quarantine.

    What serves now, then the champion and `previous` of the books, then the version that was
    deployed last.
    """
    versions = {v.version: v for v in registry.versions(model)}
    fit = [
        v.version
        for v in versions.values()
        if v.version != version and record.QUARANTINED not in v.tags and record.BUNDLE in v.tags
    ]
    aliases = {alias: v.version for v in versions.values() for alias in v.aliases}
    first = (serving, aliases.get(record.CHAMPION), aliases.get(record.PREVIOUS))
    named = next((v for v in first if v in fit), None)
    if named is not None:
        return named
    deployed = [v for v in fit if record.DEPLOYED_AT in versions[v].tags]
    return max(deployed, key=lambda v: versions[v].tags[record.DEPLOYED_AT], default=None)


def write(registry: Registry, model: str, version: int, back: int | None, actor: str) -> None:
    """Aliases and tags; `previous` first, so that the old champion is not forgotten."""
    with step(logger, "alias_previous", model=model, version=version):
        current = registry.previous(model)
        if back is not None:
            registry.set_alias(model, record.PREVIOUS, back)
        elif current is not None:
            registry.drop_alias(model, record.PREVIOUS)
    with step(logger, "alias_champion", model=model, version=version):
        registry.set_alias(model, record.CHAMPION, version)
    with step(logger, "tag", model=model, version=version):
        tags = {record.DEPLOYED_AT: now(), record.DEPLOYED_BY: actor}
        registry.tag(model, version, tags)


@contextmanager
def telling(model: str, version: int) -> Iterator[None]:
    """Say, where the books cannot be read or written, that `version` has the traffic already."""
    try:
        yield
    except (TrackingError, NotFoundError) as error:
        raise ReleaseError(
            f"{model} version {version} has the traffic, but MLflow could not be told: "
            f"{error}; the next release, or the next tick of scale_services, mends it"
        ) from error


def quarantine(registry: Registry, model: str, version: int, reason: str) -> None:
    """Never promote `version` again by itself; a reason that is there already stays."""
    with step(logger, "quarantine", model=model, version=version):
        if record.QUARANTINED not in registry.version(model, version).tags:
            tags = {record.QUARANTINED_AT: now(), record.QUARANTINED: reason}
            registry.tag(model, version, tags)


def now() -> str:
    """As tags hold times: they sort as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
