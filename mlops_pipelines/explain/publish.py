"""Puts the record of a version where people look: the store, and MLflow beside the version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.page import record_page
from mlops_pipelines.explain.record_schema import Record
from mlops_pipelines.explain.sources import Sources

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

PAGE = "mlops.record_page"
"""Tag of a version: where its page lies in the store."""
PAGE_FILE = "record.html"
RECORD_FILE = "record.json"
"""Artifacts of a version: its record as it was published last."""


@dataclass(frozen=True)
class Published:
    """A record that was published.

    `uri` is that of its page in the store; `artifact` is the page in MLflow's UI.
    """

    record: Record
    uri: str
    artifact: str


def folder_of(model: str, version: int) -> str:
    """Where in the store the record of a version lies."""
    return f"reports/{model}/versions/{version}"


def publish(sources: Sources, registry: Registry, model: str, version: int, main: str) -> Published:
    """Write the record of `version` as JSON and page, over an older one; the tag PAGE names it.

    Raises NotFoundError, StoreError, TrackingError.
    """
    from mlops_pipelines.train.kept import as_json, keep_hashed
    from mlops_pipelines.train.tracking import connect, told

    found = lineage(sources, model, version, main)
    content = {
        PAGE_FILE: record_page(found).encode(),
        RECORD_FILE: as_json(found.model_dump(mode="json")),
    }
    folder = folder_of(model, version)
    for name, written in content.items():
        sources.store.write_bytes(f"{folder}/{name}", written)
    address = registry.tracking_uri
    keep_hashed(registry, model, version, content)
    run_id = found.runs.mlflow
    uri = sources.store.uri(f"{folder}/{PAGE_FILE}")
    registry.tag(model, version, {PAGE: uri})
    with told(address, f"reading run {run_id}"):
        experiment = connect(address).get_run(run_id).info.experiment_id
    return Published(found, uri, f"experiments/{experiment}/runs/{run_id}/artifacts/{PAGE_FILE}")
