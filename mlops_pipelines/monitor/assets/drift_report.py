"""`drift_report`: whether the day's rows look like the training data."""

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.errors import StoreError
from mlops_pipelines.monitor.assets.track import WARN, Day, in_monitor_track, of_day, unknown
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import MlflowResource, StoreResource
from mlops_pipelines.train.assets.shown import figures, mlflow_link


def drift_report_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec

    @dg.asset(
        **in_monitor_track(declared, "drift_report", "predictions"),
        description="How far each column is from the training data; Evidently's page beside it.",
        kinds={"evidently"},
        check_specs=[of_day(declared, "drift_report", "no_drift", "No column has drifted.")],
    )
    def drift_report(
        context: dg.AssetExecutionContext, mlflow: MlflowResource, store: StoreResource
    ) -> dg.MaterializeResult:
        from functools import partial

        from mlops_pipelines.monitor.day_table import connect
        from mlops_pipelines.monitor.night_drift import night_drift
        from mlops_pipelines.monitor.night_estimate import estimate_night, night_harm
        from mlops_pipelines.monitor.predictions import day_rows
        from mlops_pipelines.monitor.profiles import references_of, window_of
        from mlops_pipelines.monitor.report import written_report
        from mlops_pipelines.monitor.several_days import with_days_before

        at = Day.opened(spec, context, mlflow, store)
        asked = at.sample()
        version = asked.version
        if version is None:
            nothing = unknown("no_drift", "nobody asked: there is nothing to compare")
            return dg.MaterializeResult(metadata={"rows": 0}, check_results=[nothing])
        with at.step("profile", version=version) as counted:
            warehouse = connect(store.engine) if store.engine else None
            references = references_of(at.registry, spec.name)
            window = window_of(at.store, spec, version, at.day, references, warehouse)
            if window is None:
                raise StoreError(
                    f"{spec.name} {at.day}: version {version} answered, and where store.engine "
                    "looks for its rows there are none; copy the day's rows there"
                )
            counted["rows"] = window.whole.n
        with at.step("drift", version=version):
            judged = night_drift(at.registry, at.store, spec, window)
            found = judged.drift
            rows = asked.frame
            if len(rows) < (enough := spec.monitor.min_rows):
                read = partial(day_rows, at.store, spec.name)
                rows, _ = with_days_before(read, at.day, version, enough)
            harm = night_harm(
                at.registry,
                spec,
                version,
                found.status,
                found.drifted,
                estimate_night(at.registry, spec, at.day, version, rows),
                judged.reference,
                judged.window,
            )
        with (
            at.step("report", version=version),
            at.registry.night(spec.name, at.day, version) as night,
            written_report(
                at.store, at.registry, spec, at.day, version, asked.frame, judged
            ) as page,
        ):
            night.log(found.metrics(), tags={record.VERDICTS["drift"]: found.status})
            night.log_artifact(page.path, "reports")
        return dg.MaterializeResult(
            metadata={
                "status": found.status,
                "version": version,
                "page": mlflow_link(
                    mlflow,
                    "the report",
                    f"experiments/{night.experiment_id}/runs/{night.run_id}"
                    f"/artifacts/reports/{page.path.name}",
                ),
                "picture": dg.MetadataValue.md(found.picture()),
                "columns": dg.MetadataValue.md(found.markdown()),
                "harm": dg.MetadataValue.md(harm.markdown()),
                **figures(found.metrics()),
                "report": dg.MetadataValue.path(page.uri),
                "mlflow_run": mlflow_link(mlflow, "beside other nights", f"runs/{night.run_id}"),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="no_drift",
                    passed=found.status != "alarm",
                    severity=dg.AssetCheckSeverity.ERROR if harm.level == "alarm" else WARN,
                    description=f"{found.sentence}; {harm.sentence}",
                    metadata={
                        "harm": harm.level,
                        **at.facts(version, found.status),
                        "drifted_columns": dg.MetadataValue.json(list(found.drifted)),
                        **figures(found.metrics()),
                    },
                )
            ],
        )

    return drift_report
