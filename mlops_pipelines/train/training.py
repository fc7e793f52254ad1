"""One training from a frozen snapshot to a registered version, as plain calls in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.project import Declared
from mlops_pipelines.store import Store
from mlops_pipelines.train.environment_record import ENVIRONMENT, environment_document
from mlops_pipelines.train.expectations_record import EXPECTATIONS

if TYPE_CHECKING:
    from mlops_pipelines.train.fit import Fitted
    from mlops_pipelines.train.registry import Registry


@dataclass(frozen=True)
class Trained:
    """A registered version and how it came out."""

    version: int
    run_id: str
    rows: int
    fitted: Fitted


def train_version(
    declared: Declared,
    root: Path,
    registry: Registry,
    store: Store,
    digest: str,
    provenance: record.Provenance,
    *,
    python: str | None = None,
    params: dict[str, Any] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> Trained:
    """Fit on the snapshot `digest`, measure on its holdout, and register the version.

    The MLflow run is finished whatever happens. Raises DataError, TrackingError, StoreError.
    """
    from mlops_pipelines.train.estimates import ESTIMATOR, learn_estimator
    from mlops_pipelines.train.facts import seal
    from mlops_pipelines.train.fit import fit
    from mlops_pipelines.train.quality import learn_suite
    from mlops_pipelines.train.reference import learn_reference
    from mlops_pipelines.train.snapshot import load_snapshot, read_rows

    spec = declared.spec
    snapshot = load_snapshot(store, spec.name, digest)
    rows = read_rows(store, snapshot)
    parent = registry.champion(spec.name)
    tags = {
        record.KIND: "training",
        record.MODEL: spec.name,
        record.SNAPSHOT: digest,
        record.PARENT_VERSION: str(parent or ""),
        **provenance.tags(),
    }
    with registry.training(spec.name, tags) as run:
        fitted = fit(
            spec,
            snapshot,
            rows.train,
            rows.holdout,
            root,
            declared.folder,
            python=python,
            params=params,
            on_progress=on_progress,
        )
        reference = learn_reference(rows, snapshot, fitted)
        version = registry.log_version(
            run,
            fitted,
            snapshot,
            learn_suite(rows.all, snapshot),
            reference,
            provenance,
            spec.description,
        )
    registry.keep_json(spec.name, version, ENVIRONMENT, environment_document())
    estimator = learn_estimator(snapshot, rows.holdout, fitted, reference.profile)
    registry.keep_json(spec.name, version, ESTIMATOR, json.loads(estimator.to_json()))
    if store.exists(f"{snapshot.key}/{EXPECTATIONS}"):
        checked = store.read_json(f"{snapshot.key}/{EXPECTATIONS}")
        registry.keep_json(spec.name, version, EXPECTATIONS, checked)
    seal(registry, store, spec.name, version)
    return Trained(version, run.run_id, snapshot.rows, fitted)
