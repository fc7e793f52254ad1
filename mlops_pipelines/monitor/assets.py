"""The monitor track of one model, a day at a time: what was answered, and how it turned out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.keys import asset_key, days_of, shared
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import open_target
from mlops_pipelines.resources import (
    MlflowResource,
    ProjectResource,
    StoreResource,
    TargetResource,
)
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.tasks import IN_TARGET_UNIT
from mlops_pipelines.train.assets import figures, mlflow_link

if TYPE_CHECKING:
    from mlops_pipelines.monitor.fairness import Fairness

WARN = dg.AssetCheckSeverity.WARN

_FAIR = "No gap between groups is clearly beyond its declared bound."


def monitor_assets(declared: Declared) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of the monitor track; each partition is one day (UTC)."""
    log = dg.AssetSpec(
        asset_key(declared.spec.name, "prediction_log"),
        description="Every answered request; the servers write it.",
        deps=[asset_key(declared.spec.name, "deployment")],
        partitions_def=days_of(declared.spec),
        kinds={"json"},
        **shared(declared.spec),
    )
    return [
        log,
        _predictions(declared),
        _labels(declared),
        _drift_report(declared),
        _performance(declared),
        _service_health(declared),
    ]


def _predictions(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec

    @dg.asset(
        **_common(declared, "predictions", "prediction_log"),
        description="The day's answered rows as Parquet, each once; late rows land in their day.",
        kinds={"parquet"},
        check_specs=[_check(declared, "predictions", "expectations", "Rows are as in training.")],
    )
    def predictions(
        context: dg.AssetExecutionContext,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        import json

        from mlops_pipelines.monitor.predictions import compact, day_key, day_rows
        from mlops_pipelines.train.quality import check_rows
        from mlops_pipelines.train.registry import Registry

        day, opened = context.partition_key, store.open()
        with step(
            context.log, "compact", model=spec.name, day=day, run=context.run.run_id
        ) as counted:
            compacted = compact(opened, open_target(target).log_dir(spec.name), spec.name)
            rows = day_rows(opened, spec.name, day)
            counted["rows"] = len(rows)
        late = {other: n for other, n in compacted.days.items() if other != day}
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        version = serving_version(rows, registry.champion(spec.name))
        if version is None or rows.empty:
            check = _unknown("expectations", "nobody asked: there are no rows to check")
        else:
            with step(
                context.log, "expectations", model=spec.name, day=day, run=context.run.run_id
            ) as counted:
                suite = json.loads(registry.fetch(spec.name, version, "suite.json").read_text())
                asked = rows[rows["model_version"] == version]
                quality = check_rows(asked, suite, without=[spec.data.target])
                counted["rows"] = quality.rows
            check = dg.AssetCheckResult(
                check_name="expectations",
                passed=quality.passed,
                severity=WARN,
                description="; ".join(failed.sentence for failed in quality.failed[:5])
                or f"{quality.expectations} expectations hold on {quality.rows} rows",
                metadata={
                    "version": version,
                    "failed": len(quality.failed),
                    "details": dg.MetadataValue.md(quality.markdown),
                },
            )
        return dg.MaterializeResult(
            metadata={
                "rows": len(rows),
                "dagster/row_count": len(rows),
                "new_rows": compacted.new,
                "duplicates": compacted.duplicates,
                "corrupt_lines": compacted.corrupt,
                "other_days": dg.MetadataValue.json(late),
                "dagster/uri": opened.uri(day_key(spec.name, day)),
            },
            check_results=[check],
        )

    return predictions


def _labels(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec

    @dg.asset(
        **_common(declared, "labels", "predictions"),
        description="Ground truth that has arrived, joined by prediction id.",
        kinds={"parquet"},
    )
    def labels(
        context: dg.AssetExecutionContext,
        project: ProjectResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.monitor.labels import collect, coverage

        day, opened = context.partition_key, store.open()
        log_dir = open_target(target).log_dir(spec.name)
        with step(
            context.log, "labels", model=spec.name, day=day, run=context.run.run_id
        ) as counted:
            collected = collect(opened, log_dir, spec, project.path, declared.folder)
            covered = coverage(opened, spec.name, day)
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


def _drift_report(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec

    @dg.asset(
        **_common(declared, "drift_report", "predictions"),
        description="How far each column is from the training data; Evidently's page beside it.",
        kinds={"evidently"},
        check_specs=[_check(declared, "drift_report", "no_drift", "No column has drifted.")],
    )
    def drift_report(
        context: dg.AssetExecutionContext, mlflow: MlflowResource, store: StoreResource
    ) -> dg.MaterializeResult:
        from mlops_pipelines.monitor.predictions import day_rows
        from mlops_pipelines.monitor.report import written_report
        from mlops_pipelines.monitor.verdict import drift
        from mlops_pipelines.train.registry import Registry

        day, opened = context.partition_key, store.open()
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        rows = day_rows(opened, spec.name, day)
        version = serving_version(rows, registry.champion(spec.name))
        if version is None:
            nothing = _unknown("no_drift", "nobody asked: there is nothing to compare")
            return dg.MaterializeResult(metadata={"rows": 0}, check_results=[nothing])
        asked = rows[rows["model_version"] == version]
        with step(
            context.log, "drift", model=spec.name, day=day, version=version, run=context.run.run_id
        ) as counted:
            found = drift(registry, spec, version, asked)
            counted["rows"] = len(asked)
        with (
            step(
                context.log,
                "report",
                model=spec.name,
                day=day,
                version=version,
                run=context.run.run_id,
            ),
            registry.night(spec.name, day, version) as night,
            written_report(opened, registry, spec, day, version, asked, found) as page,
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
                **figures(found.metrics()),
                "report": dg.MetadataValue.path(page.uri),
                "mlflow_run": mlflow_link(mlflow, "beside other nights", f"runs/{night.run_id}"),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="no_drift",
                    passed=found.status != "alarm",
                    severity=WARN,
                    description=found.sentence,
                    metadata={
                        "model": spec.name,
                        "day": day,
                        "version": version,
                        "status": found.status,
                        "drifted_columns": dg.MetadataValue.json(list(found.drifted)),
                        **figures(found.metrics()),
                    },
                )
            ],
        )

    return drift_report


def _performance(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec

    @dg.asset(
        **_common(declared, "performance", "labels"),
        description="How well the labelled rows were predicted, and whether the previous version "
        "would have done better on them.",
        kinds={"scikitlearn"},
        check_specs=[
            _check(declared, "performance", "no_degradation", _not_fallen(spec)),
            *([_check(declared, "performance", "fair", _FAIR)] if spec.fairness_gates else []),
        ],
    )
    def performance(
        context: dg.AssetExecutionContext, mlflow: MlflowResource, store: StoreResource
    ) -> dg.MaterializeResult:
        from mlops_pipelines.monitor.fairness import assess_fairness
        from mlops_pipelines.monitor.labels import labelled_rows
        from mlops_pipelines.monitor.performance import assess
        from mlops_pipelines.release.bundle import open_predictor
        from mlops_pipelines.train.registry import Registry
        from mlops_pipelines.train.snapshot import load_snapshot

        day, opened = context.partition_key, store.open()
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        rows = labelled_rows(opened, spec.name, day)
        version = serving_version(rows, registry.champion(spec.name))
        if version is None:
            checks = ["no_degradation", *(["fair"] if spec.fairness_gates else [])]
            why = "insufficient_data: no labelled rows yet"
            return dg.MaterializeResult(
                metadata={"labelled": 0}, check_results=[_unknown(name, why) for name in checks]
            )
        previous = _previous(registry, spec.name, version)
        found_version = registry.version(spec.name, version)
        with (
            step(
                context.log,
                "performance",
                model=spec.name,
                day=day,
                version=version,
                run=context.run.run_id,
            ) as counted,
            registry.night(spec.name, day, version) as night,
        ):
            snapshot = load_snapshot(opened, spec.name, found_version.tags[record.SNAPSHOT])
            found = assess(
                spec,
                rows,
                version,
                found_version.metrics,
                open_predictor(registry, opened, spec.name, previous) if previous else None,
                previous,
                classes=snapshot.classes,
            )
            fairness = assess_fairness(spec, rows, version, classes=snapshot.classes)
            if fairness is not None:
                night.log_metrics(fairness.metrics())
            night.log(found.metrics(), tags={record.VERDICTS["performance"]: found.status})
            counted["rows"] = found.labelled
        return dg.MaterializeResult(
            metadata={
                "status": found.status,
                "version": version,
                "labelled": found.labelled,
                "details": dg.MetadataValue.md(found.markdown()),
                "worst_rows": dg.MetadataValue.md(found.worst_markdown()),
                **({} if fairness is None else {"gaps": dg.MetadataValue.md(fairness.markdown())}),
                **figures(found.metrics()),
                "mlflow_run": mlflow_link(mlflow, "beside other nights", f"runs/{night.run_id}"),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="no_degradation",
                    passed=found.status != "alarm",
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=found.sentence,
                    metadata={
                        "model": spec.name,
                        "day": day,
                        "version": version,
                        "status": found.status,
                        "previous_version": previous or 0,
                        "previous_clearly_better": found.previous_clearly_better,
                        **figures(found.metrics()),
                        "evidence": dg.MetadataValue.json(found.evidence()),
                    },
                ),
                *([_fair(spec, day, fairness)] if fairness and spec.fairness_gates else []),
            ],
        )

    return performance


def _service_health(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec

    @dg.asset(
        **_common(declared, "service_health", "predictions"),
        description="Latency, errors, CPU and memory of the service.",
        kinds={"uvicorn"},
        check_specs=[
            _check(declared, "service_health", "healthy", "It answers, fast and soundly.")
        ],
    )
    def service_health(
        context: dg.AssetExecutionContext,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.monitor.health import health
        from mlops_pipelines.monitor.predictions import day_rows
        from mlops_pipelines.train.registry import Registry

        day, opened = context.partition_key, store.open()
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        champion = registry.champion(spec.name)
        with step(
            context.log, "health", model=spec.name, day=day, run=context.run.run_id
        ) as counted:
            rows = day_rows(opened, spec.name, day)
            place = open_target(target)
            found = health(spec, rows, place.service(spec.name), place.metrics(spec.name))
            counted["rows"] = len(rows)
        if champion is not None and not rows.empty:
            with registry.night(
                spec.name, day, serving_version(rows, champion) or champion
            ) as night:
                night.log(found.metrics(), tags={record.VERDICTS["health"]: found.status})
        return dg.MaterializeResult(
            metadata={"status": found.status, **figures(found.metrics())},
            check_results=[
                dg.AssetCheckResult(
                    check_name="healthy",
                    passed=found.status != "alarm",
                    description=found.sentence,
                    metadata={
                        "model": spec.name,
                        "day": day,
                        "version": champion or 0,
                        "status": found.status,
                        "previous_version": registry.previous(spec.name) or 0,
                    },
                )
            ],
        )

    return service_health


def _fair(spec: ModelSpec, day: str, found: "Fairness") -> dg.AssetCheckResult:
    """A check of its own: a wide gap alone does not roll a version back."""
    return dg.AssetCheckResult(
        check_name="fair",
        passed=found.status != "alarm",
        severity=WARN,
        description=found.sentence,
        metadata={
            "model": spec.name,
            "day": day,
            "version": found.version,
            "status": found.status,
            "evidence": dg.MetadataValue.json(found.evidence()),
        },
    )


def serving_version(rows: Any, champion: int | None) -> int | None:
    """Which version a day is judged by: the champion if it answered, else who answered most."""
    if rows.empty:
        return None
    counts = rows["model_version"].value_counts()
    return champion if champion in counts.index else int(counts.index[0])


def _previous(registry: Any, model: str, version: int) -> int | None:
    """The version to compare with: the alias, unless it is quarantined or the version itself."""
    previous = registry.previous(model)
    if previous is None or previous == version:
        return None
    quarantined = record.QUARANTINED in registry.version(model, previous).tags
    return None if quarantined else int(previous)


def _common(declared: Declared, name: str, upstream: str) -> dict[str, Any]:
    spec = declared.spec
    return {
        "key": asset_key(spec.name, name),
        "deps": [asset_key(spec.name, upstream)],
        "partitions_def": days_of(spec),
        **shared(spec),
    }


def _check(declared: Declared, asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    spec = declared.spec
    return dg.AssetCheckSpec(
        name,
        asset=asset_key(spec.name, asset),
        description=description,
        partitions_def=days_of(spec),
    )


def _not_fallen(spec: ModelSpec) -> str:
    if spec.main_metric in IN_TARGET_UNIT:
        return f"{spec.main_metric} has not risen by more than {spec.main_drop:.0%}."
    return f"{spec.main_metric} is not worse by more than {spec.main_drop:g}."


def _unknown(name: str, description: str) -> dg.AssetCheckResult:
    """Too few rows is said aloud, and is never an alarm."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=True,
        severity=WARN,
        description=description,
        metadata={"status": "insufficient_data"},
    )
