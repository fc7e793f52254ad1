"""A model with two versions behind it: trained, judged, deployed, rolled back, asked, watched."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import orjson
import pandas as pd
import pytest
import yaml

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.explain.books import open_books
from mlops_pipelines.explain.event_log import EventLog
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.monitor.predictions import compact
from mlops_pipelines.project import Declared
from mlops_pipelines.release.bundle import build_bundle, open_predictor
from mlops_pipelines.release.evaluate import evaluate
from mlops_pipelines.release.evaluation_record import EVALUATION, evaluation_document
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.environment_record import ENVIRONMENT, environment_document
from mlops_pipelines.train.expectations_record import EXPECTATIONS, expectations_document
from mlops_pipelines.train.quality import check_rows, learn_suite
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import freeze, read_rows
from mlops_pipelines.train.training import train_version

MODEL = "shop"
SPEC = {
    "name": MODEL,
    "task": "binary_classification",
    "data": {
        "source": {"csv": "rows.csv"},
        "target": "bought",
        "event_time": "seen_at",
        "segments": ["site"],
        "features": ["price", "visits"],
    },
    "estimator": {"python": "sklearn.linear_model:LogisticRegression", "cross_validation": 0},
    "gates": [{"metric": "roc_auc", "at_least": 0.5}, {"metric": "roc_auc", "within_champion": 1}],
}
LOCK = f"numpy==2.4.6 --hash=sha256:{'0' * 64}\nscikit-learn==1.9.1 --hash=sha256:{'1' * 64}\n"
RUNS = {
    "release 1": "11111111-0000-4000-8000-000000000001",
    "release 2": "22222222-0000-4000-8000-000000000002",
    "rollback": "33333333-0000-4000-8000-000000000003",
    "night": "44444444-0000-4000-8000-000000000004",
}
NIGHTS = {"2026-03-01": 0.8, "2026-03-02": 0.6, "2026-03-03": 0.7}
"""Of version 1, and its ROC AUC."""


@dataclass(frozen=True)
class Shop:
    """The project folder `root` and its home; `log_dir` has answered rows."""

    root: Path
    home: Path
    registry: Registry
    sources: Sources
    spec: ModelSpec
    log_dir: Path

    @property
    def store(self) -> Store:
        return self.sources.store


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Version 1 serves again since version 2 was rolled back; of version 1 little was kept."""
    base = tmp_path_factory.mktemp("shop")
    root, home = base / "project", base / "home"
    folder = root / "assets" / MODEL
    folder.mkdir(parents=True)
    (root / "resources").mkdir()
    (root / "resources" / "local.yaml").write_text("")
    (root / "workspace.yaml").write_text("")
    (root / "requirements.lock").write_text(LOCK)
    declare(folder)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    store = Store(str(home / "store"))
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}", str(home / "artifacts"))
    first = train(registry, store, root, rows(400), {})
    judge(registry, store, root, first, None)
    forget(registry, ENVIRONMENT)
    registry.set_alias(MODEL, record.CHAMPION, 1)
    nights(registry)
    declare(folder, C=0.05)
    git(root, "commit", "-qam", "two")
    (root / "requirements.lock").write_text(LOCK.replace("2.4.6", "2.4.7"))
    second = train(registry, store, root, rows(600), {"C": 0.05})
    document = judge(registry, store, root, second, 1)
    registry.keep_json(MODEL, 2, EVALUATION, document)
    registry.keep_json(MODEL, 2, ENVIRONMENT, environment_document())
    snapshot = freeze(rows(600), second, store, "csv rows.csv")
    suite = learn_suite(read_rows(store, snapshot).all, snapshot)
    quality = check_rows(read_rows(store, snapshot).all, suite)
    registry.keep_json(MODEL, 2, EXPECTATIONS, expectations_document(suite, quality, "learned"))
    registry.tag(MODEL, 2, {record.QUARANTINED: "complaints", record.QUARANTINED_AT: "2026-03-05"})
    registry.set_alias(MODEL, record.PREVIOUS, 2)
    report(home)
    log_dir = home / "serving" / MODEL / "log"
    answer(log_dir, store)
    events = EventLog(f"sqlite:///{home / 'dagster' / 'history' / 'runs' / 'index.db'}")
    sources = Sources(open_books(registry.tracking_uri), events, store)
    return Shop(root, home, registry, sources, second, log_dir)


def rows(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    price, visits = rng.normal(10, 3, n), rng.normal(0, 1, n)
    chance = 1 / (1 + np.exp(-(price - 10) - visits))
    return pd.DataFrame(
        {
            "price": price + (0 if n <= 400 else 4),
            "visits": visits,
            "site": np.where(np.arange(n) % 25 == 0, "west <b>", "north"),
            "seen_at": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(n), unit="h"),
            "bought": (rng.random(n) < chance).astype(int),
        }
    )


def declare(folder: Path, **params: Any) -> None:
    attributes = {**SPEC, "estimator": {**SPEC["estimator"], "params": params}}  # type: ignore[dict-item]
    declared = {"type": "mlops_pipelines.MonitoredModel", "attributes": attributes}
    (folder / "defs.yaml").write_text(yaml.safe_dump(declared))


def train(
    registry: Registry, store: Store, root: Path, frame: pd.DataFrame, params: dict[str, Any]
) -> ModelSpec:
    spec = ModelSpec.model_validate({**SPEC, "estimator": {**SPEC["estimator"], "params": params}})  # type: ignore[dict-item]
    snapshot = freeze(frame, spec, store, "csv rows.csv")
    declared = Declared(spec, root / "assets" / MODEL, f"assets/{MODEL}/defs.yaml")
    run = f"{len(params)}a2b3c4d-0000-4000-8000-000000000000"
    train_version(declared, root, registry, store, snapshot.digest, record.provenance(root, run))
    return spec


def judge(
    registry: Registry, store: Store, root: Path, spec: ModelSpec, champion: int | None
) -> dict[str, Any]:
    version = 1 if champion is None else 2
    bundle = build_bundle(registry, store, root, spec, version)
    assert bundle.digest
    digest = registry.version(MODEL, version).tags[record.SNAPSHOT]
    from mlops_pipelines.train.snapshot import load_snapshot

    snapshot = load_snapshot(store, MODEL, digest)
    found = evaluate(
        spec,
        snapshot,
        read_rows(store, snapshot).holdout,
        open_predictor(registry, store, MODEL, version),
        open_predictor(registry, store, MODEL, champion) if champion else None,
        champion,
    )
    registry.tag(MODEL, version, {record.GATES: "passed", record.IMAGE: f"sha256:{version:064x}"})
    return evaluation_document(found)


def forget(registry: Registry, name: str) -> None:
    """Make version 1 one from before this file was kept."""
    with contextlib.suppress(NotFoundError):
        registry.fetch(MODEL, 1, name).unlink()


def nights(registry: Registry) -> None:
    for place, (day, value) in enumerate(NIGHTS.items()):
        with registry.night(MODEL, day, 1) as night:
            metrics = {"roc_auc": value, "roc_auc_low": value - 0.1, "roc_auc_high": value + 0.1}
            metrics |= {"roc_auc_baseline": 0.82, "labelled": 50.0, "drift_columns": float(place)}
            tags = {"mlops.verdict.performance": "alarm" if value < 0.7 else "ok"} if place else {}
            night.log(metrics | {"drift_distance_max": place / 10}, tags=tags)


def report(home: Path) -> None:
    """Dagster's events: two releases and a rollback, a night, and a check of the training data."""
    folder = home / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(f"storage: {{sqlite: {{base_dir: {folder}}}}}\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        said = {"expectations": 9, "failed": 0, "suite": "learned from this snapshot"}
        check(instance, "training_data", "expectations", None, "9 expectations hold", said, "")
        moves = (
            ("release 1", "1", "deploy", "none", "ann", "passed its gates"),
            ("release 2", "2", "deploy", "1", "bob", "passed its gates"),
            ("rollback", "1", "rollback", "2", "carol", "complaints"),
        )
        for name, version, action, previous, actor, reason in moves:
            if name.startswith("release"):
                run = RUNS[name]
                said = {"version": int(version), "rows": 80}
                check(instance, "evaluation", "meets_thresholds", version, "it does", said, run)
                check(instance, "image", "serves", version, "it answers", {"rows": 20}, run)
            said = {"version": int(version), "action": action, "previous": previous}
            said |= {"actor": actor, "reason": reason}
            made(instance, "deployment", version, said, RUNS[name])
        made(instance, "drift_report", "2026-03-01", {"version": 1, "status": "ok"}, RUNS["night"])
        made(instance, "labels", "2026-03-01", {"rows": 3}, RUNS["night"])


def made(
    instance: dg.DagsterInstance, asset: str, partition: str, metadata: dict[str, Any], run: str
) -> None:
    from dagster._core.events import StepMaterializationData

    event = dg.AssetMaterialization([MODEL, asset], partition=partition, metadata=metadata)
    happened(instance, "ASSET_MATERIALIZATION", StepMaterializationData(event, []), run)


def check(
    instance: dg.DagsterInstance,
    asset: str,
    name: str,
    partition: str | None,
    says: str,
    metadata: dict[str, Any],
    run: str,
) -> None:
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([MODEL, asset]),
        check_name=name,
        passed=True,
        description=says,
        metadata=metadata,
        partition=partition,
        blocking=True,
    )
    if run:
        happened(instance, "ASSET_CHECK_EVALUATION", evaluation, run)
    else:
        instance.report_runless_asset_event(evaluation)


def happened(instance: dg.DagsterInstance, kind: str, said: Any, run: str) -> None:
    """An event of a run, as Dagster itself would log it."""
    import time

    from dagster._core.events import DagsterEvent
    from dagster._core.events.log import EventLogEntry

    event = DagsterEvent(event_type_value=kind, job_name="job", event_specific_data=said)
    instance.handle_new_event(
        EventLogEntry(
            error_info=None,
            level=20,
            user_message="",
            run_id=run,
            timestamp=time.time(),
            dagster_event=event,
        )
    )


def answer(log_dir: Path, store: Store) -> None:
    """Rows that version 1 answered: `old-0` is in Parquet by now, `new-0` still in the log."""
    log_dir.mkdir(parents=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for number, (name, pid) in enumerate((("old", dead.pid), ("new", 1))):
        header = {"schema": 1, "kind": "predictions", "model": MODEL, "model_version": 1}
        header["columns"] = ["price", "visits"]
        at = f"2026-03-0{number + 1}T12:00:00.000000Z"
        lines = [
            [f"{name}-{i}", f"r-{name}", i, at, at, 1, 0.7, [0.3, 0.7], 1.5, [10.0, 0.5]]
            for i in range(3)
        ]
        path = log_dir / f"{MODEL}-v1-{1772366400000 + number}-{pid}.ndjson"
        path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in (header, *lines)))
        if name == "old":
            compact(store, log_dir, MODEL)


def git(root: Path, *arguments: str) -> None:
    name = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", "-C", str(root), *name, *arguments], check=True, capture_output=True)
