"""The release track of one version: `evaluation` → `security_report` → `image` → `deployment`."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.tags import AUTOMATION_CONDITION_TAG
from pydantic import Field

from mlops_pipelines import record
from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.keys import asset_key, shared, versions_of
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import (
    MlflowResource,
    ProjectResource,
    StoreResource,
    TargetResource,
)
from mlops_pipelines.train.assets import figures

if TYPE_CHECKING:
    from mlops_pipelines.release.targets.process import ProcessTarget
    from mlops_pipelines.serve.bundle import Runtime


class DeploymentConfig(dg.Config):
    """Why a version takes the traffic; a materialization by hand may leave all of it out."""

    reason: str = Field("", description="said in the event, the tags and the alert")
    actor: str = Field("", description="who asks; default: the Dagster run")
    quarantine: int | None = Field(
        None, description="the version that failed, never promoted again by itself"
    )
    evidence: dict[str, Any] | None = Field(None, description="what the decision rests on")
    wait_seconds: float = Field(
        60, description="how long to wait while another release of the model is under way"
    )
    force: bool = Field(False, description="also a version that is quarantined or was refused")


def open_target(target: TargetResource) -> "ProcessTarget":
    """The place where bundles run."""
    from mlops_pipelines.release.targets.process import ProcessTarget

    return ProcessTarget(Path(target.home), target.host, (target.first_port, target.last_port))


def release_assets(declared: Declared) -> Sequence[dg.AssetsDefinition]:
    """The assets of the release track; each partition is one model version."""
    return [
        _evaluation(declared),
        _security_report(declared),
        _image(declared),
        _deployment(declared),
    ]


def _evaluation(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec
    key = asset_key(spec.name, "evaluation")

    @dg.asset(
        **_common(declared, "evaluation", "model_version"),
        description="Champion and challenger on the same rows.",
        kinds={"scikitlearn"},
        check_specs=[
            _gate(declared, key, "meets_thresholds", "Every declared bound on a metric holds."),
            _gate(
                declared, key, "no_worse_than_champion", "On the same rows, within what is allowed."
            ),
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
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.bundle import build_bundle, open_predictor
        from mlops_pipelines.release.convert import TOLERANCE
        from mlops_pipelines.release.evaluate import evaluate
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
        refused = [gate.sentence for gate in result.gates if not gate.passed]
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
                "bundle": bundle.digest[:16],
                "runtime": bundle.runtime.name,
                **figures(result.metrics),
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
            + [_onnx_agrees(bundle.runtime, TOLERANCE)],
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


def _security_report(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec
    key = asset_key(spec.name, "security_report")

    @dg.asset(
        **_common(declared, "security_report", "evaluation"),
        description="What the model file would load, how the answers stand up to noise and attack, "
        "what they give away, and what the rows hold that they should not.",
        kinds={"skops"},
        check_specs=[_gate(declared, key, "secure", "No finding that the declaration blocks on.")],
    )
    def security_report(
        context: dg.AssetExecutionContext, mlflow: MlflowResource, store: StoreResource
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.bundle import open_bundle, open_predictor
        from mlops_pipelines.release.security.assess import assess
        from mlops_pipelines.release.security.packages import ADVISORIES
        from mlops_pipelines.release.security.report import FILE
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
            registry.keep_json(spec.name, version, FILE, report.as_dict())
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


def _image(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec
    key = asset_key(spec.name, "image")

    @dg.asset(
        **_common(declared, "image", "security_report"),
        description="What is served. Target process runs the bundle as it is: no image is made.",
        kinds={"python"},
        check_specs=[
            _gate(declared, key, "serves", "Started, it answers real rows as it did in training.")
        ],
    )
    def image(
        context: dg.AssetExecutionContext,
        project: ProjectResource,
        mlflow: MlflowResource,
        store: StoreResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.bundle import build_bundle
        from mlops_pipelines.release.serves import serves
        from mlops_pipelines.train.registry import Registry

        version = int(context.partition_key)
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        with step(context.log, "bundle", model=spec.name, version=version, run=context.run.run_id):
            bundle = build_bundle(registry, store.open(), project.path, spec, version)
        with step(
            context.log, "serves", model=spec.name, version=version, run=context.run.run_id
        ) as counted:
            result = serves(bundle.folder)
            counted["rows"] = result.rows
        context.log.info("made a bundle and no image: target process runs the bundle as it is")
        return dg.MaterializeResult(
            metadata={
                "version": version,
                "kind": "bundle (no image: target process)",
                "digest": bundle.digest[:16],
                "size_bytes": bundle.size_bytes,
                "dagster/uri": store.open().uri(bundle.key),
                "seconds_to_ready": result.seconds_to_ready,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="serves",
                    passed=result.passed,
                    description=result.sentence,
                    metadata={
                        "rows": result.rows,
                        "largest_difference": float(result.largest_difference),
                    },
                )
            ],
        )

    return image


def _deployment(declared: Declared) -> dg.AssetsDefinition:
    spec = declared.spec

    @dg.asset(
        **_common(declared, "deployment", "image"),
        description="The version takes the traffic. Materialize it for an older version to roll "
        "back by hand.",
        kinds={"uvicorn"},
    )
    def deployment(
        context: dg.AssetExecutionContext,
        config: DeploymentConfig,
        mlflow: MlflowResource,
        store: StoreResource,
        target: TargetResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.rollout import release, roll_back, when_free
        from mlops_pipelines.train.registry import Registry

        version = int(context.partition_key)
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        actor = config.actor or f"dagster run {context.run.run_id[:8]}"
        books = (registry, store.open(), open_target(target), spec)
        with step(context.log, "deploy", model=spec.name, version=version, run=context.run.run_id):
            if not config.force:
                _passed_its_gates(registry.version(spec.name, version))
            if AUTOMATION_CONDITION_TAG in context.run.tags:
                _not_overtaken(spec.name, version, registry.champion(spec.name))
            if config.quarantine is not None:
                move = partial(
                    roll_back,
                    *books,
                    to=version,
                    actor=actor,
                    reason=config.reason,
                    evidence=config.evidence or {},
                    failed=config.quarantine,
                )
            else:
                move = partial(
                    release, *books, version, actor, reason=config.reason, force=config.force
                )
            done = when_free(move, config.wait_seconds)
        context.log.info(done.sentence)
        return dg.MaterializeResult(
            metadata={
                "version": version,
                "action": done.action,
                "previous": done.previous or "none",
                "address": dg.MetadataValue.url(done.address),
                "replicas": done.replicas,
                "seconds": done.seconds,
                "actor": done.actor,
                "reason": done.reason or "passed its gates",
                "rehearsal": done.rehearsal,
                **({"evidence": dg.MetadataValue.json(config.evidence)} if config.evidence else {}),
            }
        )

    return deployment


def _passed_its_gates(version: Any) -> None:
    gates = version.tags.get(record.GATES, "")
    if gates != "passed":
        found = gates or "it was never evaluated"
        raise ReleaseError(
            f"{version.model} version {version.version} is not deployed: {found}; the serving "
            "version keeps serving. Run the release job for it, or deploy with force: true"
        )


def _not_overtaken(model: str, version: int, champion: int | None) -> None:
    """Nobody asked for this version by hand: it must not take the traffic from a newer one."""
    if champion is not None and champion > version:
        raise ReleaseError(
            f"{model} version {version} is not deployed: version {champion}, which is newer, was "
            "released meanwhile and keeps serving. Materialize deployment for it to go back"
        )


def _common(declared: Declared, name: str, upstream: str) -> dict[str, Any]:
    spec = declared.spec
    return {
        "key": asset_key(spec.name, name),
        "deps": [asset_key(spec.name, upstream)],
        "partitions_def": versions_of(spec.name),
        "automation_condition": _release_once(),
        **shared(spec),
    }


def _gate(declared: Declared, key: dg.AssetKey, name: str, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name,
        asset=key,
        blocking=True,
        description=description,
        partitions_def=versions_of(declared.spec.name),
    )


def _release_once() -> dg.AutomationCondition[Any]:
    """Once for each new version; a version whose gate failed is not tried again each tick."""
    condition = dg.AutomationCondition
    return (
        (condition.any_deps_updated() | condition.newly_missing()).since_last_handled()
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & condition.all_deps_blocking_checks_passed()
    ).with_label("release_once")
