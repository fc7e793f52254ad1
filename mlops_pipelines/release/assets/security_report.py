"""`security_report`: what a version would do that it should not."""

import os
from functools import partial
from pathlib import Path

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.keys import asset_key
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import blocking, in_release_track
from mlops_pipelines.resources import MlflowResource, StoreResource
from mlops_pipelines.train.assets.shown import figures


def security_report_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec
    key = asset_key(spec.name, "security_report")

    @dg.asset(
        **in_release_track(declared, "security_report", "evaluation"),
        description="What the model file would load, how the answers stand up to noise and attack, "
        "what they give away, and what the rows hold that they should not.",
        kinds={"skops"},
        check_specs=[
            blocking(declared, key, "secure", "No finding that the declaration blocks on.")
        ],
    )
    def security_report(
        context: dg.AssetExecutionContext, mlflow: MlflowResource, store: StoreResource
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.bundle import open_bundle, open_predictor
        from mlops_pipelines.release.security.assess import assess
        from mlops_pipelines.release.security.packages import ADVISORIES
        from mlops_pipelines.release.security.report import FILE
        from mlops_pipelines.train.kept import as_json, keep_hashed
        from mlops_pipelines.train.registry import Registry
        from mlops_pipelines.train.snapshot import load_snapshot, read_rows

        version, opened = int(context.partition_key), store.open()
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        said = {"model": spec.name, "version": version, "run": context.run.run_id}
        with step(context.log, "security", **said) as counted:
            found = registry.version(spec.name, version)
            snapshot = load_snapshot(opened, spec.name, found.tags[record.SNAPSHOT])
            advisories = os.environ.get(ADVISORIES)
            report = assess(
                open_bundle(opened, spec.name, found.tags[record.BUNDLE]),
                spec,
                snapshot,
                read_rows(opened, snapshot),
                partial(open_predictor, registry, opened, spec.name, version),
                params=found.params,
                advisories=Path(advisories) if advisories else None,
                during=lambda name: step(context.log, f"security: {name}", **said),
            )
            counted["findings"] = len(report.findings)
            keep_hashed(registry, spec.name, version, {FILE: as_json(report.as_dict())})
        return dg.MaterializeResult(
            metadata={
                "version": version,
                "findings": len(report.findings),
                "blocking": len(report.blocking),
                "report": dg.MetadataValue.md(report.markdown()),
                **figures({measure.name: measure.value for measure in report.measures}),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="secure",
                    passed=report.secure,
                    description=report.sentence,
                    metadata={
                        "findings": len(report.findings),
                        "blocking": len(report.blocking),
                    },
                )
            ],
        )

    return security_report
