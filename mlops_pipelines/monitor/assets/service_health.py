"""`service_health`: whether the service answers, fast and soundly."""

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.monitor.assets.track import Day, in_monitor_track, of_day
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import open_target
from mlops_pipelines.resources import MlflowResource, StoreResource, TargetResource
from mlops_pipelines.train.assets.shown import figures


def service_health_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec

    @dg.asset(
        **in_monitor_track(declared, "service_health", "predictions"),
        description="Latency, errors, CPU and memory of the service.",
        kinds={"uvicorn"},
        check_specs=[
            of_day(declared, "service_health", "healthy", "It answers, fast and soundly.")
        ],
    )
    def service_health(
        context: dg.AssetExecutionContext,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.monitor.health import COLUMNS, health
        from mlops_pipelines.monitor.predictions import day_rows

        at = Day.opened(spec, context, mlflow, store)
        champion = at.champion()
        with at.step("health") as counted:
            rows = day_rows(at.store, spec.name, at.day, COLUMNS)
            place = open_target(target, spec)
            found = health(
                spec,
                rows,
                place.service(spec.name),
                place.metrics(spec.name),
                place.usage(spec.name),
            )
            counted["rows"] = len(rows)
        if champion is not None and not rows.empty:
            with at.registry.night(spec.name, at.day, at.judged(rows) or champion) as night:
                night.log(found.metrics(), tags={record.VERDICTS["health"]: found.status})
        return dg.MaterializeResult(
            metadata={
                "status": found.status,
                "usage": dg.MetadataValue.md(found.table),
                **figures(found.metrics()),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="healthy",
                    passed=found.status != "alarm",
                    description=found.sentence,
                    metadata={
                        **at.facts(champion or 0, found.status),
                        "previous_version": at.registry.previous(spec.name) or 0,
                    },
                )
            ],
        )

    return service_health
