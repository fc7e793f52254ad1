"""The sensor that keeps the services up: as many replicas as the load needs, and true books."""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_pipelines.errors import BusyError, MlopsError
from mlops_pipelines.keys import asset_key
from mlops_pipelines.react import scale
from mlops_pipelines.release.assets.track import open_target
from mlops_pipelines.resources import MlflowResource, StoreResource, TargetResource
from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.release.rollout import Deployment
    from mlops_pipelines.release.targets.target import Target


def services_sensor(specs: Mapping[str, ModelSpec]) -> dg.SensorDefinition:
    """One sensor for the services of all models; what it measured last is in its cursor."""

    @dg.sensor(
        name="scale_services",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lets replicas follow the load, starts those that are missing, and makes the "
        "books follow the traffic.",
    )
    def scale_services(
        context: dg.SensorEvaluationContext,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.SensorResult:
        from mlops_pipelines.release.rollout import reconcile
        from mlops_pipelines.train.registry import Registry

        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        place = open_target(target, *specs.values())
        before: dict[str, Any] = json.loads(context.cursor or "{}")
        cursor: dict[str, Any] = {}
        said = []
        for model, spec in specs.items():
            if not place.state_dir(model).exists():
                continue
            try:
                mended = reconcile(registry, store.open(), place, spec)
                if mended:
                    said.append(f"{model}: {mended}")
                if mended.moved is not None:
                    context.instance.report_runless_asset_event(_event(mended.moved))
                scaled = _follow_load(place, spec, before.get(model), cursor)
                if scaled:
                    said.append(f"{model}: {scaled}")
            except BusyError:
                continue
            except MlopsError as error:
                context.log.error(f"{model}: {str(error).removeprefix(f'{model}: ')}")
        for line in said:
            context.log.info(line)
        return dg.SensorResult(
            skip_reason="; ".join(said) or "every service is as it should be",
            cursor=json.dumps(cursor),
        )

    return scale_services


def _follow_load(
    place: "Target", spec: ModelSpec, before: dict[str, Any] | None, cursor: dict[str, Any]
) -> str:
    """Let the replicas of a model follow its load; why they changed, empty where they did not.

    In a cluster its own autoscaler does that.
    """
    bounds = spec.release.replicas
    if place.kind == "kubernetes":
        return ""
    service = place.service(spec.name)
    if service is None or not service.wanted or not service.replicas:
        return ""
    if bounds.min == bounds.max == service.wanted:
        return ""
    load = scale.load_of(service, place.usage(spec.name), place.metrics(spec.name), time.time())
    decision = scale.decide(
        spec.release,
        scale.cores_of(place.kind, spec.release),
        service.wanted,
        load,
        scale.from_json(before) if before else None,
        float(before["needed_at"]) if before else load.at,
    )
    # First: a change that failed is not tried again before there is a new measurement.
    cursor[spec.name] = {**scale.to_json(load), "needed_at": decision.needed_at}
    if decision.wanted != service.wanted:
        place.scale(spec.name, decision.wanted)
    return decision.sentence


def _event(moved: "Deployment") -> dg.AssetMaterialization:
    """What the gateway began, as the deployment that it is."""
    return dg.AssetMaterialization(
        asset_key(moved.model, "deployment"),
        partition=str(moved.version),
        description=moved.sentence,
        metadata={
            "version": moved.version,
            "action": moved.action,
            "previous": moved.previous or "none",
            "address": dg.MetadataValue.url(moved.address),
            "replicas": moved.replicas,
            "seconds": moved.seconds,
            "actor": moved.actor,
            "reason": moved.reason,
        },
    )
