"""`predictions`: the day's answered rows, each once."""

import dagster as dg

from mlops_pipelines.monitor.assets.track import WARN, Day, in_monitor_track, of_day, unknown
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import open_target
from mlops_pipelines.resources import MlflowResource, StoreResource, TargetResource


def predictions_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec

    @dg.asset(
        **in_monitor_track(declared, "predictions", "prediction_log"),
        description="The day's answered rows as Parquet, each once; late rows land in their day.",
        kinds={"parquet"},
        check_specs=[of_day(declared, "predictions", "expectations", "Rows are as in training.")],
    )
    def predictions(
        context: dg.AssetExecutionContext,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        import json

        from mlops_pipelines.monitor.predictions import compact, day_key
        from mlops_pipelines.train.quality import check_rows

        at = Day.opened(spec, context, mlflow, store)
        with at.step("compact") as counted:
            compacted = compact(at.store, open_target(target, spec).log_dir(spec.name), spec.name)
            asked = at.sample()
            rows = sum(asked.versions.values())
            counted["rows"] = rows
        late = {other: n for other, n in compacted.days.items() if other != at.day}
        version = asked.version
        if version is None:
            check = unknown("expectations", "nobody asked: there are no rows to check")
        else:
            with at.step("expectations") as counted:
                suite = json.loads(at.registry.fetch(spec.name, version, "suite.json").read_text())
                quality = check_rows(asked.frame, suite, without=[spec.data.target])
                counted["rows"] = quality.rows
            check = dg.AssetCheckResult(
                check_name="expectations",
                passed=quality.passed,
                severity=WARN,
                description="; ".join(failed.sentence for failed in quality.failed[:5])
                or f"{quality.expectations} expectations hold on {quality.rows} of "
                f"{asked.rows} rows",
                metadata={
                    "version": version,
                    "failed": len(quality.failed),
                    "details": dg.MetadataValue.md(quality.markdown),
                },
            )
        return dg.MaterializeResult(
            metadata={
                "rows": rows,
                "dagster/row_count": rows,
                "new_rows": compacted.new,
                "duplicates": compacted.duplicates,
                "corrupt_lines": compacted.corrupt,
                "other_days": dg.MetadataValue.json(late),
                "dagster/uri": at.store.uri(day_key(spec.name, at.day)),
            },
            check_results=[check],
        )

    return predictions
