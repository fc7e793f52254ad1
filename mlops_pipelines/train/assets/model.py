"""`<model>/model`: the estimator fitted, measured, registered, and announced as a version."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from mlops_pipelines import record
from mlops_pipelines.errors import DataError
from mlops_pipelines.keys import asset_key, shared, value, versions_of
from mlops_pipelines.logs import progress, step
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import MlflowResource, ProjectResource, StoreResource
from mlops_pipelines.train.assets.shown import figures, mlflow_link


class ModelConfig(dg.Config):
    """What a launch may say about the estimator of one training."""

    python: str | None = Field(None, description="other estimator than declared, module:attribute")
    params: dict[str, Any] | None = Field(None, description="other parameters than declared")


def model_asset(declared: Declared) -> dg.AssetsDefinition:
    """Fits what `training_data` froze last, registers it and announces the version."""
    spec = declared.spec
    key = asset_key(spec.name, "model")

    @dg.asset(
        key=key,
        description="The estimator, fitted, measured and registered in MLflow.",
        deps=[asset_key(spec.name, "training_data")],
        kinds={"scikitlearn", "mlflow"},
        check_specs=[
            dg.AssetCheckSpec(
                "not_overfit",
                asset=key,
                description="The holdout is predicted about as well as the training rows.",
            )
        ],
        automation_condition=dg.AutomationCondition.eager(),
        **shared(spec),
    )
    def model(
        context: dg.AssetExecutionContext,
        config: ModelConfig,
        project: ProjectResource,
        mlflow: MlflowResource,
        store: StoreResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.train.registry import Registry
        from mlops_pipelines.train.training import train_version

        digest = _snapshot_digest(context, spec.name)
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        # A run that was killed between MLflow and Dagster left a version unannounced.
        _announce(context, spec.name, [version.version for version in registry.versions(spec.name)])
        with step(context.log, "train", model=spec.name, run=context.run.run_id) as counted:
            trained = train_version(
                declared,
                project.path,
                registry,
                store.open(),
                digest,
                record.provenance(project.path, context.run.run_id),
                python=config.python,
                params=config.params,
                on_progress=progress,
            )
            counted["rows"] = trained.rows
            counted["version"] = trained.version
        _announce(context, spec.name, [trained.version])
        overfit = trained.fitted.overfit
        for sentence in trained.fitted.warnings:
            context.log.warning(sentence)
        return dg.MaterializeResult(
            metadata={
                "version": trained.version,
                "mlflow_run": mlflow_link(mlflow, "pictures and curves", f"runs/{trained.run_id}"),
                "snapshot": digest[:16],
                **figures(
                    {
                        **trained.fitted.metrics,
                        "training_seconds": trained.fitted.seconds,
                        "cpu_seconds": trained.fitted.cpu_seconds,
                        "peak_memory_mb": trained.fitted.peak_memory_mb,
                    }
                ),
                "warnings": "; ".join(trained.fitted.warnings) or "none",
            },
            data_version=dg.DataVersion(str(trained.version)),
            check_results=[
                dg.AssetCheckResult(
                    check_name="not_overfit",
                    passed=not overfit.overfit,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=overfit.sentence,
                    metadata={"train": overfit.train, "holdout": overfit.holdout},
                )
            ],
        )

    return model


def _snapshot_digest(context: dg.AssetExecutionContext, model: str) -> str:
    """The snapshot that `training_data` froze last."""
    event = context.instance.get_latest_materialization_event(asset_key(model, "training_data"))
    materialization = event.asset_materialization if event else None
    if materialization is None:
        raise DataError(f"{model}: there is no training data yet; materialize training_data first")
    return str(value(materialization.metadata, "snapshot"))


def _announce(context: dg.AssetExecutionContext, model: str, versions: Sequence[int]) -> None:
    """Make each version a partition, and report it as the external asset `model_version`."""
    name = versions_of(model).name
    known = set(context.instance.get_dynamic_partitions(str(name)))
    for version in sorted(versions):
        if str(version) in known:
            continue
        context.instance.add_dynamic_partitions(str(name), [str(version)])
        context.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key(model, "model_version"),
                partition=str(version),
                metadata={
                    "version": version,
                    "dagster_run": dg.MetadataValue.dagster_run(context.run.run_id),
                },
            )
        )
