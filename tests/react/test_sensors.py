"""The sensors on a real instance and a real MLflow: a bad night becomes one action, once."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_pipelines import record
from mlops_pipelines.definitions import build_definitions
from mlops_pipelines.demo.daemon import Daemon, overheard
from mlops_pipelines.home import dagster_instance
from mlops_pipelines.keys import asset_key, versions_of
from mlops_pipelines.project import Project
from mlops_pipelines.train.registry import Registry

DAY = "2026-03-01"
MODEL = "breast_cancer"


@dataclass
class Scene:
    """One model with three versions, of which 2 serves and 1 came before."""

    project: Project
    registry: Registry
    instance: dg.DagsterInstance

    def found(self, asset: str, check: str, *, passed: bool, day: str = DAY, **said: Any) -> None:
        status = "ok" if passed else "alarm"
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=asset_key(MODEL, asset),
                check_name=check,
                passed=passed,
                partition=day,
                description="what was seen",
                metadata={"status": status, "model": MODEL, "day": day, **said},
            )
        )

    def performance(self, *, passed: bool, better: bool = False, version: int = 2) -> None:
        said = {"version": version, "previous_version": 1, "previous_clearly_better": better}
        self.found("performance", "no_degradation", passed=passed, **said)

    def decide(self, cursor: str | None = None) -> Any:
        definition = self.defs.resolve_sensor_def("roll_back_degraded_models")
        context = dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=cursor,
            definitions=self.defs,
            resources=dict(self.defs.resources or {}),
        )
        with context:
            return definition.evaluate_tick(context)

    @property
    def defs(self) -> dg.Definitions:
        return build_definitions(self.project)

    def asked_for_retraining(self) -> int:
        key = asset_key(MODEL, "retraining_request")
        return len(self.instance.fetch_materializations(key, limit=10).records)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with three versions: made once, since its migrations take seconds."""
    home = tmp_path_factory.mktemp("books")
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}", str(home / "artifacts"))
    client = registry._client
    client.create_registered_model(MODEL)
    for _ in range(3):
        with registry.training(MODEL, {}) as run:
            client.create_model_version(MODEL, source=str(home), run_id=run.run_id)
    registry.set_alias(MODEL, record.CHAMPION, 2)
    registry.set_alias(MODEL, record.PREVIOUS, 1)
    return home / "mlflow.db"


@pytest.fixture
def scene(project: Path, books: Path) -> Iterator[Scene]:
    found = Project.find()
    found.home.mkdir(parents=True)
    shutil.copy(books, found.home / "mlflow.db")
    with dagster_instance(found) as instance:
        instance.add_dynamic_partitions(str(versions_of(MODEL).name), ["1", "2", "3"])
        yield Scene(found, Registry(found.tracking_uri, found.artifact_root), instance)


def test_a_better_previous_version_is_put_back_once(scene: Scene) -> None:
    scene.performance(passed=False, better=True)
    first = scene.decide()
    request = first.run_requests[0]
    assert (request.job_name, request.partition_key) == (f"{MODEL}_rollback", "1")
    config = request.run_config["ops"][f"{MODEL}__deployment"]["config"]
    assert config["quarantine"] == 2
    assert config["actor"] == "sensor roll_back_degraded_models"
    assert "clearly better" in config["reason"]
    assert config["evidence"]["day"] == DAY
    assert "days_since_retrain" not in config["evidence"], "nothing was ever retrained"
    dg.validate_run_config(scene.defs.resolve_job_def(request.job_name), request.run_config)
    assert scene.decide(first.cursor).run_requests == []
    assert scene.asked_for_retraining() == 0


def test_no_better_previous_version_asks_for_one_retraining(scene: Scene) -> None:
    daemon = Daemon(scene.defs, scene.instance, MODEL)
    daemon.automate()
    scene.performance(passed=False, better=False)
    first = scene.decide()
    assert first.run_requests == []
    assert scene.asked_for_retraining() == 1
    assert (f"{MODEL}/training_data", None) in daemon.automate()
    assert daemon.automate() == []
    # Another bad night within the cool-down asks for nothing more.
    scene.found(
        "performance",
        "no_degradation",
        passed=False,
        day="2026-03-02",
        version=2,
        previous_version=1,
        previous_clearly_better=False,
    )
    scene.decide(first.cursor)
    assert scene.asked_for_retraining() == 1


def test_a_night_about_a_version_that_left_does_nothing(scene: Scene) -> None:
    scene.performance(passed=False, better=True, version=1)
    assert scene.decide().run_requests == []
    assert scene.asked_for_retraining() == 0


def test_ill_health_of_the_champion_is_not_proven_by_another_versions_day(scene: Scene) -> None:
    # A day that is evaluated again: version 1 answered it and did well, health is of version 2.
    scene.performance(passed=True, version=1)
    scene.found("service_health", "healthy", passed=False, version=2)
    assert scene.decide().run_requests == []


def test_a_failing_service_is_rolled_back_without_labels(scene: Scene) -> None:
    scene.found("service_health", "healthy", passed=False, version=2)
    assert [request.partition_key for request in scene.decide().run_requests] == ["1"]


def test_what_would_be_put_back_must_be_what_was_better(scene: Scene) -> None:
    scene.performance(passed=False, better=True)
    scene.registry.set_alias(MODEL, record.PREVIOUS, 3)
    assert scene.decide().run_requests == []
    assert scene.asked_for_retraining() == 1


def test_a_quarantined_version_is_never_put_back(scene: Scene) -> None:
    scene.performance(passed=False, better=True)
    scene.registry.tag(MODEL, 1, {record.QUARANTINED: "it failed before"})
    assert scene.decide().run_requests == []


def test_recommend_alerts_and_moves_nothing(scene: Scene, project: Path) -> None:
    declaration = project / "assets" / MODEL / "defs.yaml"
    text = declaration.read_text()
    assert "mode: automatic" in text
    declaration.write_text(text.replace("mode: automatic", "mode: recommend"))
    scene.project = Project.find()
    scene.performance(passed=False, better=True)
    with overheard() as alerts:
        assert scene.decide().run_requests == []
    assert len(alerts) == 1
    assert f"mlops rollback {MODEL} --to 1" in alerts[0]


def test_alerts_are_sent_once_for_checks_rollbacks_and_retrainings(scene: Scene) -> None:
    daemon = Daemon(scene.defs, scene.instance, MODEL)
    daemon.tick("send_alerts")
    scene.performance(passed=False)
    scene.found("drift_report", "no_drift", passed=True, version=2)
    scene.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key(MODEL, "deployment"),
            partition="1",
            metadata={"action": "rollback", "reason": "it fell"},
        )
    )
    scene.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key(MODEL, "retraining_request"), metadata={"reason": "it is due"}
        )
    )
    with overheard() as alerts:
        daemon.tick("send_alerts")
        daemon.tick("send_alerts")
    assert alerts == [
        f"alert: {MODEL}: performance no_degradation failed: what was seen",
        f"alert: {MODEL}: rolled back to version 1: it fell",
        f"alert: {MODEL}: a retraining is requested: it is due",
    ]


def test_a_failed_run_is_told_unless_a_blocking_check_explains_it(scene: Scene) -> None:
    from mlops_pipelines.running import run_job, step_config

    daemon = Daemon(scene.defs, scene.instance, MODEL)
    daemon.tick("send_alerts")
    config = step_config(MODEL, "training_data", {"source": {"csv": "no/such/file.csv"}})
    ran = run_job(scene.defs, scene.instance, f"{MODEL}_train", config=config)
    assert not ran.success
    with overheard() as alerts:
        daemon.tick("send_alerts")
        daemon.tick("send_alerts")
    assert len(alerts) == 1
    assert f"{MODEL}_train failed" in alerts[0]
    assert ran.run_id in alerts[0]


def test_the_cursor_is_plain_json(scene: Scene) -> None:
    scene.performance(passed=True)
    assert json.loads(scene.decide().cursor) == {
        f"{MODEL}/performance:no_degradation": pytest.approx(1, abs=1000)
    }


def test_automation_never_puts_an_older_version_over_a_newer_one(scene: Scene) -> None:
    from mlops_pipelines.running import run_job, step_config

    ran = run_job(
        scene.defs,
        scene.instance,
        f"{MODEL}_rollback",
        partition="1",
        config=step_config(MODEL, "deployment", {"force": True}),
        tags={"dagster/from_automation_condition": "true"},
    )
    assert not ran.success
    assert ran.failure == (
        f"{MODEL} version 1 is not deployed: version 2, which is newer, was released meanwhile "
        "and keeps serving. Materialize deployment for it to go back"
    )
