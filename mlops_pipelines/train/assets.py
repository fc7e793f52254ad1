"""The train track of one model: `training_data` → `model`, and the external `model_version`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from mlops_pipelines import record
from mlops_pipelines.data_spec import Source
from mlops_pipelines.environment import shown_uri
from mlops_pipelines.errors import DataError
from mlops_pipelines.keys import asset_key, shared, value, versions_of
from mlops_pipelines.located import Located, validate
from mlops_pipelines.logs import progress, step
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import MlflowResource, ProjectResource, StoreResource
from mlops_pipelines.spec import ModelSpec


class TrainingDataConfig(dg.Config):
    """What a launch may say about the data of one training, and leave the declaration alone."""

    source: dict[str, Any] | None = Field(
        None, description="other rows than declared, in the words of data.source"
    )
    accept: bool = Field(
        False,
        description="these rows are right though they differ from the champion's: "
        "learn what is expected from them",
    )


class ModelConfig(dg.Config):
    """What a launch may say about the estimator of one training."""

    python: str | None = Field(None, description="other estimator than declared, module:attribute")
    params: dict[str, Any] | None = Field(None, description="other parameters than declared")


def train_assets(declared: Declared) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of the train track, and the external assets at its two ends."""
    spec = declared.spec
    request = dg.AssetSpec(
        asset_key(spec.name, "retraining_request"),
        description="Asked for by the rollback sensor, with its reason, when training is due.",
        kinds={"sensor"},
        **shared(spec),
    )
    version = dg.AssetSpec(
        asset_key(spec.name, "model_version"),
        description="A registered version; training reports it, and it is the partition.",
        deps=[asset_key(spec.name, "model")],
        partitions_def=versions_of(spec.name),
        kinds={"mlflow"},
        **shared(spec),
    )
    return [request, _training_data(declared), _model(declared), version]


def _training_data(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec
    key = asset_key(spec.name, "training_data")

    @dg.asset(
        key=key,
        description="The training data, frozen by content hash and split.",
        deps=[asset_key(spec.name, "retraining_request")],
        kinds={"parquet", spec.data.source.kind},
        check_specs=[
            dg.AssetCheckSpec(
                "expectations",
                asset=key,
                blocking=True,
                description="Rows are as expected (Great Expectations): of the champion's "
                "snapshot, or of the suite beside the declaration.",
            )
        ],
        automation_condition=_retrain_when_asked(),
        **shared(spec),
    )
    def training_data(
        context: dg.AssetExecutionContext,
        config: TrainingDataConfig,
        project: ProjectResource,
        mlflow: MlflowResource,
        store: StoreResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.train.expectations_record import EXPECTATIONS, expectations_document
        from mlops_pipelines.train.quality import check_rows
        from mlops_pipelines.train.registry import Registry
        from mlops_pipelines.train.snapshot import freeze, read_rows
        from mlops_pipelines.train.source import describe, load_rows

        source = _launch_source(config) or spec.data.source
        with step(context.log, "load", model=spec.name, run=context.run.run_id) as counted:
            frame = load_rows(source, project.path, declared.folder)
            counted["rows"] = len(frame)
        with step(context.log, "snapshot", model=spec.name, run=context.run.run_id) as counted:
            snapshot = freeze(frame, spec, store.open(), describe(source))
            counted["rows"] = snapshot.rows
        with step(context.log, "expectations", model=spec.name, run=context.run.run_id) as counted:
            rows = read_rows(store.open(), snapshot)
            registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
            champion = None if config.accept else registry.champion(spec.name)
            suite, origin = _suite(declared, registry, champion, snapshot, rows.all)
            quality = check_rows(rows.all, suite)
            checked = expectations_document(suite, quality, origin)
            store.open().write_json(f"{snapshot.key}/{EXPECTATIONS}", checked)
            counted["rows"] = quality.rows
        return dg.MaterializeResult(
            metadata={
                "snapshot": snapshot.digest,
                "dagster/row_count": snapshot.rows,
                "rows": snapshot.rows,
                "train_rows": snapshot.train_rows,
                "holdout_rows": snapshot.holdout_rows,
                "features": len(snapshot.columns),
                "source": snapshot.source,
                "dagster/uri": store.open().uri(snapshot.key),
                "classes": dg.MetadataValue.json(snapshot.class_counts or {}),
                "dagster/column_schema": dg.TableSchema(
                    [dg.TableColumn(column.name, column.type) for column in snapshot.columns]
                ),
            },
            data_version=dg.DataVersion(snapshot.digest),
            check_results=[
                dg.AssetCheckResult(
                    check_name="expectations",
                    passed=quality.passed,
                    description=_said(quality, origin),
                    metadata={
                        "expectations": quality.expectations,
                        "failed": len(quality.failed),
                        "suite": origin,
                        "details": dg.MetadataValue.md(quality.markdown),
                    },
                )
            ],
        )

    return training_data


def _model(declared: Declared) -> dg.AssetsDefinition:
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

        digest = snapshot_digest(context, spec.name)
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


def figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """As the Dagster UI shows them: six significant digits. MLflow keeps them all."""
    return {name: float(f"{number:.6g}") for name, number in metrics.items()}


def mlflow_link(mlflow: MlflowResource, text: str, page: str) -> dg.MetadataValue:
    """`text` that opens `page` of the MLflow UI: the server's, or what `mlops ui` opens."""
    uri = mlflow.tracking_uri
    if not uri.startswith("http"):
        uri = os.environ.get("MLOPS_MLFLOW_UI", "http://127.0.0.1:5000")
    # MLflow would open its pages for language models.
    where = f"{shown_uri(uri).rstrip('/')}/#/{page}?workflowType=machine_learning"
    return dg.MetadataValue.md(f"[{text}]({where})")


def snapshot_digest(context: dg.AssetExecutionContext, model: str) -> str:
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


def _suite(
    declared: Declared, registry: Any, champion: int | None, snapshot: Any, rows: Any
) -> tuple[dict[str, Any], str]:
    """The suite that new rows must meet, and where it is from."""
    import json

    from mlops_pipelines.train.quality import learn_suite, read_suite

    spec: ModelSpec = declared.spec
    if spec.quality.suite != "auto":
        return read_suite(declared.folder / spec.quality.suite), spec.quality.suite
    if champion is not None:
        path = registry.fetch(spec.name, champion, "suite.json")
        return json.loads(path.read_text()), f"learned from version {champion}"
    return learn_suite(rows, snapshot), "learned from this snapshot"


def _said(quality: Any, origin: str) -> str:
    if quality.passed:
        return f"{quality.expectations} expectations hold on {quality.rows} rows"
    failed = "; ".join(each.sentence for each in quality.failed[:5])
    if not origin.startswith("learned from version"):
        return failed
    return f"{failed}. Expected is what was {origin}; if these rows are right, train with --accept"


def _launch_source(config: TrainingDataConfig) -> Source | None:
    if config.source is None:
        return None
    return validate(Source, Located("launch configuration", config.source, {}))


def _retrain_when_asked() -> dg.AutomationCondition[Any]:
    asked = dg.AutomationCondition.any_deps_updated().since_last_handled()
    return (asked & ~dg.AutomationCondition.in_progress()).with_label("retraining_requested")
