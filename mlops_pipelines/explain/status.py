"""What serves, since when, and how it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_pipelines import record

if TYPE_CHECKING:
    from mlops_pipelines.release.targets.process import ProcessTarget
    from mlops_pipelines.train.registry import Registry


def status(registry: Registry, target: ProcessTarget, model: str) -> dict[str, Any]:
    """The state of `model` as JSON values; a model that never trained has no champion."""
    champion, previous = registry.champion(model), registry.previous(model)
    service = target.service(model)
    found = registry.version(model, champion) if champion is not None else None
    serving = service.version if service is not None and service.workers else None
    return {
        "model": model,
        "champion": champion,
        "previous": previous,
        "serving": serving,
        "address": service.address if serving is not None and service is not None else None,
        "replicas": len(service.workers) if service is not None else 0,
        "deployed_at": found.tags.get(record.DEPLOYED_AT) if found else None,
        "deployed_by": found.tags.get(record.DEPLOYED_BY) if found else None,
        "quarantined": [
            version.version
            for version in registry.versions(model)
            if record.QUARANTINED in version.tags
        ],
    }
