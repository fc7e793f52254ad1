"""The three sensors, once for all models: roll back, alert, keep the services up.

They start RUNNING, read the event log from a cursor, and do nothing twice.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterInstance

from mlops_pipelines import record
from mlops_pipelines.keys import asset_key, check_key, run_tags
from mlops_pipelines.react.alerts import Alerts
from mlops_pipelines.react.evaluations import Cursor, Evaluation, evaluation_of, new_evaluations
from mlops_pipelines.react.materializations import Materialized, new_materializations
from mlops_pipelines.react.rollback import Decision, Evidence, decide
from mlops_pipelines.react.services import services_sensor
from mlops_pipelines.resources import AlertsResource, MlflowResource
from mlops_pipelines.spec import ModelSpec

NIGHTLY = {
    "performance": ("performance", "no_degradation"),
    "drift": ("drift_report", "no_drift"),
    "health": ("service_health", "healthy"),
}
"""The checks that a decision rests on: (asset, check) by the part of the evidence they are; the
first that judged a version says which version the night is about."""

ALERTED = {
    "training_data": ("expectations",),
    "model": ("not_overfit",),
    "evaluation": ("meets_thresholds", "no_worse_than_champion", "shadow"),
    "security_report": ("secure",),
    "image": ("serves",),
    "predictions": ("expectations",),
    **{asset: (check,) for asset, check in NIGHTLY.values()},
    "performance": ("no_degradation", "fair"),
}


def sensors(specs: Mapping[str, ModelSpec], rollback_jobs: Sequence[Any]) -> list[Any]:
    """The sensors of the code location; `rollback_jobs` are the `<model>_rollback` jobs."""
    found: list[Any] = [_alerts_sensor(specs), services_sensor(specs)]
    if rollback_jobs:
        found.append(_rollback_sensor(specs, rollback_jobs))
    return found


def _rollback_sensor(specs: Mapping[str, ModelSpec], jobs: Sequence[Any]) -> dg.SensorDefinition:
    checks = [check_key(model, *names) for model in specs for names in NIGHTLY.values()]

    @dg.sensor(
        name="roll_back_degraded_models",
        jobs=list(jobs),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads what each night found, and rolls back, asks for a retraining, or warns.",
    )
    def roll_back_degraded_models(
        context: dg.SensorEvaluationContext, mlflow: MlflowResource, alerts: AlertsResource
    ) -> dg.SensorResult:
        from mlops_pipelines.train.registry import Registry

        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        cursor: Cursor = json.loads(context.cursor or "{}")
        nights = sorted(
            {
                (str(each.partition), each.model)
                for each in new_evaluations(context.instance, checks, cursor)
                if each.partition
            }
        )
        requests = []
        for day, model in nights:
            evidence = gather(context.instance, registry, model, day)
            decision = decide(specs[model], evidence)
            context.log.info(f"{decision.action}: {decision.reason}")
            if decision.action == "roll_back":
                requests.append(_roll_back(evidence, decision))
            elif decision.action == "retrain":
                _request_retraining(context.instance, evidence, decision)
            elif decision.action == "recommend":
                Alerts(alerts.urls).send(
                    f"{model}: a rollback is recommended", decision.reason, model=model
                )
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))

    return roll_back_degraded_models


def gather(instance: DagsterInstance, registry: Any, model: str, day: str) -> Evidence:
    """What the night of `day` found out about `model`, with what serves now."""
    found = {
        part: evaluation_of(instance, check_key(model, *names), day)
        for part, names in NIGHTLY.items()
    }
    serving, previous = registry.champion(model), registry.previous(model)
    version = next(filter(None, map(_version, found.values())), 0)
    # A day that is looked at again may be about a version that left; what was found out about
    # another version than the one judged is no evidence against it.
    about = {part: each for part, each in found.items() if each and _version(each) == version}
    performance = about["performance"].metadata if "performance" in about else {}
    columns = about["drift"].metadata.get("drifted_columns") if "drift" in about else None
    compared_with = int(performance.get("previous_version") or 0)
    return Evidence(
        model=model,
        day=day,
        version=version,
        serving=serving,
        health=_status(about.get("health")),
        performance=_status(about.get("performance")),
        drift=_status(about.get("drift")),
        drifted_columns=tuple(columns or ()),
        performance_basis=str(performance.get("basis") or "realised"),
        previous=previous,
        previous_quarantined=previous is not None
        and record.QUARANTINED in registry.version(model, previous).tags,
        # What was better on the same rows must be what would be put back.
        previous_clearly_better=bool(performance.get("previous_clearly_better"))
        and compared_with == previous,
        days_since_retrain=_days_since_request(instance, model),
    )


def _version(evaluation: Evaluation | None) -> int:
    """The version that was judged, 0 where none was."""
    return int(evaluation.metadata.get("version") or 0) if evaluation else 0


def _status(evaluation: Evaluation | None) -> Any:
    return evaluation.status if evaluation else "insufficient_data"


def _days_since_request(instance: DagsterInstance, model: str) -> float | None:
    event = instance.get_latest_materialization_event(asset_key(model, "retraining_request"))
    if event is None:
        return None
    return (datetime.now(UTC).timestamp() - event.timestamp) / 86_400


def _roll_back(evidence: Evidence, decision: Decision) -> dg.RunRequest:
    # Dagster's configuration knows no null.
    known = {name: what for name, what in vars(evidence).items() if what is not None}
    config = {
        "reason": decision.reason,
        "actor": "sensor roll_back_degraded_models",
        "quarantine": evidence.version,
        "evidence": {**known, "drifted_columns": list(evidence.drifted_columns)},
    }
    return dg.RunRequest(
        run_key=f"{evidence.model}-{evidence.version}-{evidence.day}",
        job_name=f"{evidence.model}_rollback",
        partition_key=str(decision.to),
        run_config={"ops": {f"{evidence.model}__deployment": {"config": config}}},
        tags=dict(run_tags(evidence.model, "rollback")),
    )


def _request_retraining(instance: DagsterInstance, evidence: Evidence, decision: Decision) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key(evidence.model, "retraining_request"),
            description=decision.reason,
            metadata={
                "reason": decision.reason,
                "day": evidence.day,
                "version": evidence.version,
                "drifted_columns": dg.MetadataValue.json(list(evidence.drifted_columns)),
            },
        )
    )


def _alerts_sensor(specs: Mapping[str, ModelSpec]) -> dg.SensorDefinition:
    checks = [
        check_key(model, asset, name)
        for model in specs
        for asset, names in ALERTED.items()
        for name in names
    ]

    keys = [
        asset_key(model, asset) for model in specs for asset in ("deployment", "retraining_request")
    ]

    @dg.sensor(
        name="send_alerts",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people of failed checks, failed runs, rollbacks and retrainings.",
    )
    def send_alerts(context: dg.SensorEvaluationContext, alerts: AlertsResource) -> Any:
        cursor: dict[str, Any] = json.loads(context.cursor or "{}")
        cursor.setdefault("checks", {})
        cursor.setdefault("events", {})
        cursor.setdefault("runs", datetime.now(UTC).timestamp())
        told = Alerts(alerts.urls)
        explained: set[str] = set()
        for each in new_evaluations(context.instance, checks, cursor["checks"]):
            if each.passed:
                continue
            explained |= {each.run_id} if each.blocking else set()
            asset, where = each.check.asset_key.path[-1], each.partition
            title = f"{each.model}: {asset} {each.check.name} failed"
            tags = {"partition": where} if where else None
            told.send(title, each.description, model=each.model, tags=tags)
        for event in new_materializations(context.instance, keys, cursor["events"]):
            if _told(event):
                told.send(_told(event), event.reason, model=event.model)
        for model, title, body in _failed_runs(context.instance, cursor, explained):
            told.send(title, body, model=model)
        return dg.SensorResult(cursor=json.dumps(cursor))

    return send_alerts


def _told(event: Materialized) -> str:
    """The title of an alert about `event`; empty where there is nothing to tell."""
    if event.asset == "retraining_request":
        return f"{event.model}: a retraining is requested"
    if event.action == "rollback":
        return f"{event.model}: rolled back to version {event.partition}"
    return ""


def _failed_runs(
    instance: DagsterInstance, cursor: dict[str, Any], explained: set[str]
) -> Iterator[tuple[str, str, str]]:
    """Runs that failed since the cursor, but for those that a blocking check explains."""
    since = datetime.fromtimestamp(cursor["runs"], UTC)
    failed = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    )
    for found in sorted(failed, key=lambda each: each.update_timestamp):
        cursor["runs"] = max(cursor["runs"], found.update_timestamp.timestamp())
        run = found.dagster_run
        if run.run_id not in explained:
            model = run.tags.get("mlops/model", "")
            yield model, f"{run.job_name} failed", f"run {run.run_id}"
