"""Puts the record of a version where people look: the store, and MLflow beside the version."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
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


def publish(sources: Sources, registry: Registry, model: str, version: int, main: str) -> Published:
    """Write the record of `version` as JSON and page, over an older one; the tag PAGE names it.

    Raises NotFoundError, StoreError, TrackingError.
    """
    from mlops_pipelines.train.run import Run
    from mlops_pipelines.train.tracking import connect, told

    found = lineage(sources, model, version, main)
    content = {
        PAGE_FILE: record_page(found),
        RECORD_FILE: json.dumps(found.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n",
    }
    folder = f"reports/{model}/versions/{version}"
    for name, text in content.items():
        sources.store.write_bytes(f"{folder}/{name}", text.encode())
    address = registry.tracking_uri
    client, run_id = connect(address), found.runs.mlflow
    run = Run(client, address, model, run_id, "")
    with tempfile.TemporaryDirectory(prefix="mlops-record-") as scratch:
        for name, text in content.items():
            path = Path(scratch) / name
            path.write_text(text, encoding="utf-8")
            run.log_artifact(path)
    uri = sources.store.uri(f"{folder}/{PAGE_FILE}")
    registry.tag(model, version, {PAGE: uri})
    with told(address, f"reading run {run_id}"):
        experiment = client.get_run(run_id).info.experiment_id
    return Published(found, uri, f"experiments/{experiment}/runs/{run_id}/artifacts/{PAGE_FILE}")
