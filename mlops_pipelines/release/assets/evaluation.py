"""`evaluation`: the version's bundle, and its answers beside the champion's."""

from typing import TYPE_CHECKING

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.keys import asset_key, versions_of
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import blocking, in_release_track, open_target
from mlops_pipelines.resources import MlflowResource, ProjectResource, StoreResource, TargetResource
from mlops_pipelines.train.assets.shown import figures

if TYPE_CHECKING:
    from mlops_pipelines.serve.bundle import Runtime


def evaluation_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec
    key = asset_key(spec.name, "evaluation")

    @dg.asset(
        **in_release_track(declared, "evaluation", "model_version"),
        description="Champion and challenger on the same rows.",
        kinds={"scikitlearn"},
        check_specs=[
            blocking(declared, key, "meets_thresholds", "Every declared bound on a metric holds."),
            blocking(
                declared, key, "no_worse_than_champion", "On the same rows, within what is allowed."
            ),
            blocking(declared, key, "shadow", "It answers a replay of the last logged requests."),
            dg.AssetCheckSpec(
                "onnx_agrees",
                asset=key,
                blocking=False,
                description="Converted to ONNX, the model answers the whole holdout as before.",
                partitions_def=versions_of(spec.name),
            ),
        ],
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        project: ProjectResource,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.bill_of_materials import attach_bill_of_materials
        from mlops_pipelines.release.bundle import build_bundle, bundle_of, open_predictor
        from mlops_pipelines.release.convert import TOLERANCE
        from mlops_pipelines.release.evaluate import evaluate
        from mlops_pipelines.release.evaluation_record import EVALUATION, evaluation_document
        from mlops_pipelines.release.shadow import shadow
        from mlops_pipelines.train.kept import as_json, keep_hashed
        from mlops_pipelines.train.registry import Registry
        from mlops_pipelines.train.snapshot import load_snapshot, read_rows

        version, opened = int(context.partition_key), store.open()
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        tags = registry.version(spec.name, version).tags
        champion = registry.champion(spec.name)
        with step(
            context.log, "evaluate", model=spec.name, version=version, run=context.run.run_id
        ) as counted:
            bundle = build_bundle(registry, opened, project.path, spec, version)
            snapshot = load_snapshot(opened, spec.name, tags[record.SNAPSHOT])
            holdout = read_rows(opened, snapshot).holdout
            # A version is not its own rival: evaluating the champion again compares it with none.
            rival = None if champion == version else champion
            result = evaluate(
                spec,
                snapshot,
                holdout,
                open_predictor(registry, opened, spec.name, version),
                open_predictor(registry, opened, spec.name, rival) if rival else None,
                rival,
            )
            counted["rows"] = result.rows
        with step(
            context.log, "shadow", model=spec.name, version=version, run=context.run.run_id
        ) as counted:
            shadowed = shadow(
                spec.release.shadow,
                opened,
                open_target(target, spec).log_dir(spec.name),
                spec.name,
                bundle.folder,
                bundle_of(registry, opened, spec.name, rival) if rival else None,
            )
            counted["rows"] = shadowed.replay.rows if shadowed.replay else 0
        with step(context.log, "record", model=spec.name, version=version, run=context.run.run_id):
            document = as_json(evaluation_document(result, shadowed))
            keep_hashed(registry, spec.name, version, {EVALUATION: document})
            attach_bill_of_materials(registry, spec, version, snapshot, bundle.folder, result)
        refused = [gate.sentence for gate in result.gates if not gate.passed]
        refused += shadowed.faults
        registry.tag(
            spec.name,
            version,
            {record.GATES: "refused: " + "; ".join(refused) if refused else "passed"},
        )
        return dg.MaterializeResult(
            metadata={
                "version": version,
                "champion": rival or "none",
                "comparison": dg.MetadataValue.md(result.markdown()),
                "rows": result.rows,
                "shadow": dg.MetadataValue.md(shadowed.markdown()),
                "bundle": bundle.digest[:16],
                "runtime": bundle.runtime.name,
                **figures(result.metrics),
                **figures(shadowed.figures()),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=name,
                    passed=all(gate.passed for gate in gates),
                    description="; ".join(gate.sentence for gate in gates) or "none is declared",
                    metadata={"version": version},
                )
                for name, gates in (
                    ("meets_thresholds", result.thresholds),
                    ("no_worse_than_champion", result.comparisons),
                )
            ]
            + [
                dg.AssetCheckResult(
                    check_name="shadow",
                    passed=shadowed.passed,
                    description=shadowed.sentence,
                    metadata={"version": version, **figures(shadowed.figures())},
                ),
                _onnx_agrees(bundle.runtime, TOLERANCE),
            ],
        )

    return evaluation


def _onnx_agrees(runtime: "Runtime", tolerance: float) -> dg.AssetCheckResult:
    """That a model cannot be converted, or need not be, is no fault of it."""
    measured = {
        "rows": runtime.rows,
        "differing": runtime.differing,
        "largest_difference": runtime.largest_difference,
    }
    return dg.AssetCheckResult(
        check_name="onnx_agrees",
        passed=not runtime.disagrees,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{runtime.name} serves: {runtime.reason}",
        metadata={
            "runtime": runtime.name,
            "reason": runtime.reason,
            "tolerance": tolerance,
            **{name: value for name, value in measured.items() if value is not None},
        },
    )
