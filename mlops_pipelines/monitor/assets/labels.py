"""`labels`: the ground truth that has arrived."""

import dagster as dg

from mlops_pipelines.monitor.assets.track import Day, in_monitor_track
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import open_target
from mlops_pipelines.resources import (
    MlflowResource,
    ProjectResource,
    StoreResource,
    TargetResource,
)


def labels_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec

    @dg.asset(
        **in_monitor_track(declared, "labels", "predictions"),
        description="Ground truth that has arrived, joined by prediction id.",
        kinds={"parquet"},
    )
    def labels(
        context: dg.AssetExecutionContext,
        project: ProjectResource,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.monitor.labels import collect, coverage

        at = Day.opened(spec, context, mlflow, store)
        log_dir = open_target(target, spec).log_dir(spec.name)
        with at.step("labels") as counted:
            collected = collect(at.store, log_dir, spec, project.path, declared.folder)
            covered = coverage(at.store, spec.name, at.day)
            counted["rows"] = covered.labelled
        return dg.MaterializeResult(
            metadata={
                "rows": covered.rows,
                "labelled": covered.labelled,
                "coverage": covered.labelled / covered.rows if covered.rows else 0.0,
                "new_labels": collected.new,
                "unknown_ids": collected.unknown,
            }
        )

    return labels
