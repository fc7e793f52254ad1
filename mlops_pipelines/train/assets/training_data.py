"""`<model>/training_data`: the rows frozen by content hash, and whether they are as expected."""

from typing import Any

import dagster as dg
from pydantic import Field

from mlops_pipelines.data_spec import Source
from mlops_pipelines.keys import asset_key, shared
from mlops_pipelines.located import Located, validate
from mlops_pipelines.logs import step
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


def training_data_asset(declared: Declared) -> dg.AssetsDefinition:
    """Loads, freezes and splits the rows; the check `expectations` stops those that are unlike."""
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
