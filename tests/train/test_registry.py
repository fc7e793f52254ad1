"""The registry against real MLflow: SQLite, a server, and one that is not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops_pipelines import record
from mlops_pipelines.errors import DataError, NotFoundError, TrackingError
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Profile, reference_profile
from mlops_pipelines.store import Store
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.quality import learn_suite
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import freeze, profile_columns, read_rows
from tests.train.conftest import make_spec, mixed_frame

PROVENANCE = record.Provenance("commit", "", "lock", "3.11", "dagster-run")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A fitted model, and all that is registered with it."""
    root = tmp_path_factory.mktemp("project")
    folder = root / "assets" / "demo"
    folder.mkdir(parents=True)
    (folder / "pipeline.py").write_text("WORD = 1\n")
    (folder / "defs.yaml").write_text("type: mlops_pipelines.MonitoredModel\n")
    store = Store(str(root / "store"))
    estimator = {
        "python": "sklearn.ensemble:GradientBoostingClassifier",
        "params": {"n_estimators": 12},
        "cross_validation": 2,
    }
    spec = make_spec(estimator=estimator, drop=("seen",))
    snapshot = freeze(mixed_frame(), spec, store, "csv x")
    rows = read_rows(store, snapshot)
    return SimpleNamespace(
        fitted=fit(spec, snapshot, rows.train, rows.holdout, root, folder),
        snapshot=snapshot,
        suite=learn_suite(rows.train, snapshot),
        profile=reference_profile(rows.train, profile_columns(snapshot)),
    )


def register(registry: Registry, ready: Any, **tags: str) -> int:
    with registry.training("demo", tags) as run:
        return registry.log_version(
            run,
            ready.fitted,
            ready.snapshot,
            ready.suite,
            Reference.alone(ready.profile),
            PROVENANCE,
            "A demo.",
        )


def test_a_version_leads_to_everything_behind_it(registry: Registry, ready: Any) -> None:
    assert register(registry, ready, why="first") == 1
    registry.set_alias("demo", record.CHAMPION, 1)
    assert register(registry, ready) == 2

    first, second = registry.version("demo", 1), registry.version("demo", 2)
    assert (first.version, first.aliases) == (1, ("champion",))
    assert registry.versions("demo") == (second, first)
    assert registry.models() == ["demo"]
    expected = {
        "why": "first",
        record.MODEL: "demo",
        record.KIND: "training",
        record.VERSION: "1",
        record.TASK: "binary_classification",
        record.SNAPSHOT: ready.snapshot.digest,
        record.GIT_COMMIT: "commit",
        record.LOCK_HASH: "lock",
        record.DAGSTER_RUN: "dagster-run",
        record.PARENT_VERSION: "",
        record.TRUSTED_TYPES: ",".join(ready.fitted.trusted_types),
        "mlflow.runName": "version 1",
    }
    assert {name: first.tags[name] for name in expected} == expected
    assert second.tags[record.PARENT_VERSION] == "1"
    assert first.params["n_estimators"] == "12"
    for name, value in ready.fitted.metrics.items():
        assert first.metrics[name] == value
    for name in ("train_accuracy", "cv_accuracy_mean", "cv_accuracy_std", "train_loss"):
        assert name in first.metrics
    for name in ("system/training_seconds", "system/cpu_seconds", "system/peak_memory_mb"):
        assert first.metrics[name] > 0

    run = registry._client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.inputs.dataset_inputs[0].dataset.digest == ready.snapshot.digest[:36]
    curve = registry._client.get_metric_history(first.run_id, "train_loss")
    assert [point.step for point in curve] == list(range(12))


def test_the_files_of_a_version(registry: Registry, ready: Any) -> None:
    import mlflow.models
    import skops.io

    register(registry, ready)
    model = registry.fetch("demo", 1, "model/model.skops")
    trusted = registry.version("demo", 1).tags[record.TRUSTED_TYPES].split(",")
    estimator = skops.io.load(model, trusted=trusted)
    assert type(estimator).__name__ == "Pipeline"
    assert json.loads(registry.fetch("demo", 1, "golden.json").read_text()) == ready.fitted.golden
    assert json.loads(registry.fetch("demo", 1, "suite.json").read_text()) == ready.suite
    profile = Profile.from_json(registry.fetch("demo", 1, "profile.json").read_text())
    assert profile == ready.profile
    snapshot = json.loads(registry.fetch("demo", 1, "snapshot.json").read_text())
    assert snapshot == json.loads(json.dumps(ready.snapshot.to_json()))
    assert [path.name for path in registry.fetch("demo", 1, "code").iterdir()] == ["pipeline.py"]
    assert registry.fetch("demo", 1, "declaration.yaml").read_text().startswith("type:")
    pictures = sorted(path.stem for path in registry.fetch("demo", 1, "pictures").iterdir())
    assert pictures == ["calibration", "confusion_matrix", "learning_curve", "roc_curve"]
    signature = mlflow.models.Model.load(str(registry.fetch("demo", 1, "model"))).signature
    assert signature.inputs.input_names() == [one.name for one in ready.snapshot.columns]
    assert signature.inputs.required_input_names() == ["count", "member"]
    with pytest.raises(NotFoundError, match="demo version 1 has no artifact none"):
        registry.fetch("demo", 1, "none")


def test_aliases_and_tags(registry: Registry, ready: Any) -> None:
    assert (registry.champion("demo"), registry.previous("demo")) == (None, None)
    register(registry, ready)
    register(registry, ready)
    registry.set_alias("demo", record.PREVIOUS, 1)
    registry.set_alias("demo", record.CHAMPION, 2)
    assert (registry.champion("demo"), registry.previous("demo")) == (2, 1)
    registry.set_alias("demo", record.CHAMPION, 1)
    assert registry.version("demo", 1).aliases == ("champion", "previous")
    registry.drop_alias("demo", record.PREVIOUS)
    registry.drop_alias("demo", record.PREVIOUS)
    assert (registry.champion("demo"), registry.previous("demo")) == (1, None)
    registry.tag("demo", 2, {record.QUARANTINED: "it fell"})
    assert registry.version("demo", 2).tags[record.QUARANTINED] == "it fell"


def test_a_night_is_one_run_however_often_it_is_opened(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html>")
    opened = []
    for value in (0.5, 0.75):
        with registry.night("demo", "2026-07-01", 1) as night:
            night.log_metrics({"roc_auc": value})
            night.log_artifact(tmp_path / "report.html", "reports")
            opened.append(night.run_id)
    with registry.night("demo", "2026-07-01", 2) as other:
        opened.append(other.run_id)
    assert opened[0] == opened[1] != opened[2]
    run = registry._client.get_run(opened[0])
    assert run.data.metrics == {"roc_auc": 0.75}
    assert run.info.status == "FINISHED"
    assert run.data.tags[record.KIND] == "evaluation"
    assert run.data.tags["mlflow.runName"] == "night 2026-07-01, version 1"
    listed = registry._client.list_artifacts(opened[0], "reports")
    assert [file.path for file in listed] == ["reports/report.html"]


def test_a_failed_training_is_finished_as_failed(registry: Registry) -> None:
    with pytest.raises(DataError), registry.training("demo") as run:
        raise DataError("no rows")
    with pytest.raises(ValueError, match="secret"), registry.training("demo") as other:
        raise ValueError("secret-row-value")
    with pytest.raises(KeyboardInterrupt), registry.training("demo") as third:
        raise KeyboardInterrupt
    found = [registry._client.get_run(one.run_id) for one in (run, other, third)]
    assert [one.info.status for one in found] == ["FAILED", "FAILED", "KILLED"]
    assert [one.data.tags["mlops.error"] for one in found] == [
        "no rows",
        "ValueError",
        "KeyboardInterrupt",
    ]


KILLED = """
import os, sys
from mlops_pipelines.train.registry import Registry
with Registry(sys.argv[1], sys.argv[2]).training("demo") as run:
    print(run.run_id, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_killed_training_is_closed_by_the_next(registry: Registry) -> None:
    arguments = [sys.executable, "-c", KILLED, registry.tracking_uri, registry.artifact_root]
    run_id = subprocess.run(arguments, capture_output=True, text=True, check=False).stdout.strip()
    assert registry._client.get_run(run_id).info.status == "RUNNING"
    with registry.training("demo") as first:
        with registry.training("demo"):
            assert registry._client.get_run(first.run_id).info.status == "RUNNING"
        assert registry._client.get_run(run_id).info.status == "KILLED"


def test_what_is_not_there_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="reading version 3 of demo"):
        registry.version("demo", 3)
    assert registry.versions("demo") == ()
    assert registry.models() == []


def test_mlflow_prints_nothing_and_keeps_its_global_settings(
    registry: Registry, ready: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    register(registry, ready)
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "uri",
    ["http://user:hush@127.0.0.1:1", "postgresql://user:hush@127.0.0.1:1/mlflow"],
)
def test_an_mlflow_that_is_down_is_one_line(uri: str) -> None:
    with pytest.raises(TrackingError) as caught:
        Registry(uri).models()
    line = str(caught.value)
    assert re.match(
        r"MLflow at \S+://127.0.0.1:1\S* does not answer \(connecting\); start it", line
    )
    assert "hush" not in line
    assert "\n" not in line


def test_a_database_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError) as caught:
        Registry(f"sqlite:///{tmp_path}/file/mlflow.db").models()
    assert "\n" not in str(caught.value)


def test_an_unwritable_artifact_folder_is_one_line_and_the_run_failed(
    registry: Registry, ready: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    broken = Registry(registry.tracking_uri, str(tmp_path / "file"))
    with pytest.raises(TrackingError, match="registering a version of demo"):
        register(broken, ready)
    assert registry.versions("demo") == ()
    experiment = registry._client.get_experiment_by_name("demo")
    assert experiment is not None
    runs = registry._client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Any:
    import socket

    import psutil

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (tmp_path / "server.log").open("wb") as log:
        process = psutil.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path, env={**os.environ, **quiet}
        )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        family = [*process.children(recursive=True), process]
        for one in family:
            one.kill()
        psutil.wait_procs(family, timeout=10)


def test_a_server_keeps_versions_and_gives_their_files(server: Any, ready: Any) -> None:
    import time

    uri, process = server
    registry, deadline = Registry(uri), time.monotonic() + 90
    while True:
        try:
            assert registry.models() == []
            break
        except TrackingError:
            assert process.is_running()
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert register(registry, ready) == 1
    with registry.night("demo", "2026-07-01", 1) as night:
        night.log_metrics({"roc_auc": 0.5})
    golden = registry.fetch("demo", 1, "golden.json")
    assert json.loads(golden.read_text()) == ready.fitted.golden
    assert registry.fetch("demo", 1, "golden.json") == golden
    assert registry.fetch("demo", 1, "model/model.skops").stat().st_size > 1000
    assert (registry.fetch("demo", 1, "code") / "pipeline.py").exists()
    with pytest.raises(NotFoundError, match="demo version 1 has no artifact none"):
        registry.fetch("demo", 1, "none")
