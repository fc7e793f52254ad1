"""What serves, since when, and how it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import TrackingError

if TYPE_CHECKING:
    from mlops_pipelines.release.targets.target import Target
    from mlops_pipelines.train.registry import Registry


def status(registry: Registry, target: Target, model: str) -> dict[str, Any]:
    """The state of `model` as JSON values; a model that never trained has no champion.

    `standby` is the version that is kept warm, `shares` the percent of traffic by version where a
    gateway deals it, and `deployed_at` and `deployed_by` are of the champion of the books.
    Where MLflow does not answer, what serves is told all the same, with `books` saying why the
    rest is unknown.
    """
    service = target.service(model)
    serving = service.version if service is not None and service.replicas else None
    found = {
        "model": model,
        "serving": serving,
        "address": service.address if serving is not None and service is not None else None,
        "replicas": len(service.replicas) if service is not None else 0,
        "standby": service.standby if service is not None else None,
        "shares": {str(v): share for v, share in service.shares.items()} if service else {},
    }
    try:
        return {**found, **_books(registry, model), "books": "ok"}
    except TrackingError as error:
        unknown = dict.fromkeys(("champion", "previous", "deployed_at", "deployed_by"))
        return {**found, **unknown, "quarantined": [], "books": str(error)}


def _books(registry: Registry, model: str) -> dict[str, Any]:
    champion, previous = registry.champion(model), registry.previous(model)
    found = registry.version(model, champion) if champion is not None else None
    return {
        "champion": champion,
        "previous": previous,
        "deployed_at": found.tags.get(record.DEPLOYED_AT) if found else None,
        "deployed_by": found.tags.get(record.DEPLOYED_BY) if found else None,
        "quarantined": [
            version.version
            for version in registry.versions(model)
            if record.QUARANTINED in version.tags
        ],
    }
