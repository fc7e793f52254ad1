"""`drift_report`: whether the day's rows look like the training data."""

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.monitor.assets.track import WARN, Day, in_monitor_track, of_day, unknown
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import MlflowResource, StoreResource
from mlops_pipelines.train.assets import figures, mlflow_link


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
        from mlops_pipelines.measure.profile import Profile, profile_like
        from mlops_pipelines.monitor.night_estimate import estimate_night, night_harm
        from mlops_pipelines.monitor.predictions import day_rows
        from mlops_pipelines.monitor.report import written_report
        from mlops_pipelines.monitor.verdict import drift

        at = Day.opened(spec, context, mlflow, store)
        rows = day_rows(at.store, spec.name, at.day)
        version = at.judged(rows)
        if version is None:
            nothing = unknown("no_drift", "nobody asked: there is nothing to compare")
            return dg.MaterializeResult(metadata={"rows": 0}, check_results=[nothing])
        asked = rows[rows["model_version"] == version]
        with at.step("drift", version=version) as counted:
            found = drift(at.registry, spec, version, asked)
            profile = at.registry.fetch(spec.name, version, "profile.json")
            reference = Profile.from_json(profile.read_text(encoding="utf-8"))
            harm = night_harm(
                at.registry,
                spec,
                version,
                found.status,
                found.drifted,
                estimate_night(at.registry, spec, at.day, version, asked),
                reference,
                profile_like(asked, reference),
            )
            counted["rows"] = len(asked)
        with (
            at.step("report", version=version),
            at.registry.night(spec.name, at.day, version) as night,
            written_report(at.store, at.registry, spec, at.day, version, asked, found) as page,
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
