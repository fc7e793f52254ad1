"""Books of a model with many versions and nights, written straight into the tables."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlops_pipelines import record

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
METRICS = ("accuracy", "f1", "roc_auc", "log_loss", "brier")
NIGHTLY = (
    *("drift_rows", "drift_columns", "drift_distance_max", "rows", "requests", "errors"),
    *("error_rate", "refused", "cpu_seconds", "memory_mb", "replicas", "labelled"),
    *("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"),
)
ROWS_AT_ONCE = 20_000


def fill_mlflow(home: Path, model: str, versions: int, nights: int) -> str:
    """MLflow's database under `home` with so many versions and nights of `model`; its address.

    Each night is of the newest version there is by then; the last version serves.
    """
    from mlops_pipelines.train.tracking import connect

    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = connect(uri)
    experiment = int(client.create_experiment(model, str(home / "artifacts" / model)))
    client.create_registered_model(model)
    engine = sa.create_engine(uri)
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for name, rows in _mlflow_rows(home, model, experiment, versions, nights).items():
            for start in range(0, len(rows), ROWS_AT_ONCE):
                connection.execute(tables.tables[name].insert(), rows[start : start + ROWS_AT_ONCE])
    engine.dispose()
    for alias, version in ((record.CHAMPION, versions), (record.PREVIOUS, max(versions - 1, 1))):
        client.set_registered_model_alias(model, alias, str(version))
    return uri


def fill_dagster(home: Path, model: str, versions: int) -> None:
    """Dagster's event log under `home`, where each version is deployed and its gates passed."""
    import dagster as dg

    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(
        json.dumps({"storage": {"sqlite": {"base_dir": str(folder)}}})
    )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        said = {"version": 1, "action": "deploy", "actor": "ann", "reason": "passed its gates"}
        instance.report_runless_asset_event(
            dg.AssetMaterialization([model, "deployment"], partition="1", metadata=said)
        )
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey([model, "evaluation"]),
                check_name="meets_thresholds",
                passed=True,
                description="roc_auc 0.99 is at least 0.95",
                metadata={"version": 1},
                partition="1",
            )
        )
    engine = sa.create_engine(f"sqlite:///{folder / 'history' / 'runs' / 'index.db'}")
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for name in ("event_logs", "asset_check_executions"):
            table = tables.tables[name]
            for row in connection.execute(table.select()).mappings().all():
                if row["partition"]:
                    copies = [_copy(row, version) for version in range(2, versions + 1)]
                    connection.execute(table.insert(), copies)
    engine.dispose()


def fill_store(home: Path, model: str, versions: int) -> None:
    """The descriptions of every version's snapshot and bundle, as they lie in the store."""
    columns = [{"name": f"x{i}", "type": "double", "nullable": False} for i in range(30)]
    for version in range(1, versions + 1):
        snapshot = home / "store" / "snapshots" / model / _digest("5", version)
        bundle = home / "store" / "bundles" / model / _digest("b", version)[:16]
        for folder in (snapshot, bundle):
            folder.mkdir(parents=True)
        said = {
            "schema": 1,
            "model": model,
            "digest": snapshot.name,
            "rows": 1000,
            "key": f"snapshots/{model}/{snapshot.name}",
            "train_rows": 800,
            "holdout_rows": 200,
            "columns": columns,
            "target": "y",
            "classes": [0, 1],
            "task": "binary_classification",
            "positive": 1,
            "event_time": None,
            "segments": [],
            "first_time": None,
            "last_time": None,
            "source": "csv rows.csv",
            "class_counts": {"0": 400, "1": 600},
        }
        (snapshot / "snapshot.json").write_text(json.dumps(said))
        (bundle / "manifest.json").write_text(json.dumps({"files": {}, "digest": bundle.name}))
        (bundle / "bundle.json").write_text(json.dumps({"runtime": {"name": "onnxruntime"}}))


def _mlflow_rows(
    home: Path, model: str, experiment: int, versions: int, nights: int
) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in (
            *("runs", "tags", "params", "latest_metrics"),
            *("model_versions", "model_version_tags"),
        )
    }

    def run(run_id: str, at: datetime, tags: dict[str, str], metrics: dict[str, float]) -> None:
        when = int(at.timestamp() * 1000)
        rows["runs"].append(
            {
                "run_uuid": run_id,
                "name": run_id,
                "status": "FINISHED",
                "user_id": "ann",
                "start_time": when,
                "end_time": when,
                "lifecycle_stage": "active",
                "source_type": "UNKNOWN",
                "source_name": "",
                "entry_point_name": "",
                "source_version": "",
                "experiment_id": experiment,
                "artifact_uri": str(home / "artifacts" / model / run_id / "artifacts"),
            }
        )
        rows["tags"] += [{"run_uuid": run_id, "key": k, "value": v} for k, v in tags.items()]
        rows["latest_metrics"] += [
            {
                "run_uuid": run_id,
                "key": name,
                "value": value,
                "timestamp": when,
                "step": 0,
                "is_nan": False,
            }
            for name, value in metrics.items()
        ]

    for version in range(1, versions + 1):
        run_id, at = f"{version:032x}", FIRST + timedelta(days=version)
        tags = {
            record.MODEL: model,
            record.KIND: "training",
            record.VERSION: str(version),
            record.TASK: "binary_classification",
            record.GATES: "passed",
            record.SNAPSHOT: _digest("5", version),
            record.GIT_COMMIT: _digest("c", version)[:40],
            record.GIT_DIRTY: "",
            record.LOCK_HASH: _digest("1", 1),
            record.PYTHON: "3.11.7",
            record.DAGSTER_RUN: _dagster_run(version),
            record.PARENT_VERSION: str(version - 1) if version > 1 else "",
            record.BUNDLE: _digest("b", version),
        }
        of_run = {
            f"{prefix}{name}{suffix}": 0.9
            for name in METRICS
            for prefix, suffix in (("", ""), ("train_", ""), ("cv_", "_mean"), ("cv_", "_std"))
        }
        run(run_id, at, tags, of_run)
        rows["params"] += [
            {"run_uuid": run_id, "key": f"p{i}", "value": str(version)} for i in range(25)
        ]
        common = {"workspace": "default", "name": model, "version": version}
        rows["model_versions"].append(
            {
                **common,
                "creation_time": int(at.timestamp() * 1000),
                "run_id": run_id,
                "source": "",
                "current_stage": "None",
                "status": "READY",
                "description": "",
            }
        )
        rows["model_version_tags"] += [
            {**common, "key": key, "value": value} for key, value in tags.items()
        ]
    for night in range(nights):
        day = date(1990, 1, 1) + timedelta(days=night)
        version = max(1, versions * (night + 1) // nights)
        tags = {
            record.MODEL: model,
            record.KIND: "evaluation",
            record.VERSION: str(version),
            record.DAY: day.isoformat(),
        }
        measured = dict.fromkeys(NIGHTLY, 0.0)
        for name in METRICS:
            value = 0.9 - 0.001 * (night % 7)
            measured |= {name: value, f"{name}_low": value - 0.01, f"{name}_high": value + 0.01}
            measured[f"{name}_baseline"] = 0.9
        at = datetime.combine(day, datetime.min.time(), UTC)
        run(f"f{night:031x}", at, tags, measured)
    return rows


def _digest(letter: str, version: int) -> str:
    """Distinct within their first 12 digits."""
    return f"{letter}{version:011x}".ljust(64, "0")


def _dagster_run(version: int) -> str:
    return f"{version:08x}-0000-4000-8000-000000000000"


def _copy(row: Any, version: int) -> dict[str, Any]:
    copied = {name: value for name, value in row.items() if name != "id"}
    copied["partition"] = str(version)
    if row["run_id"]:
        copied["run_id"] = _dagster_run(version)
    return copied
