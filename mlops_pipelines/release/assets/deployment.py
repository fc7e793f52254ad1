"""`deployment`: the version takes the traffic."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.tags import AUTOMATION_CONDITION_TAG
from pydantic import Field

from mlops_pipelines import record
from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import in_release_track, open_target
from mlops_pipelines.resources import MlflowResource, StoreResource, TargetResource

if TYPE_CHECKING:
    from mlops_pipelines.release.deployment import Deployment


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


def deployment_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec

    @dg.asset(
        **in_release_track(declared, "deployment", "image"),
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
        from mlops_pipelines.release.bundle import bundle_named
        from mlops_pipelines.release.rollout import release, roll_back, when_free
        from mlops_pipelines.release.signing import check
        from mlops_pipelines.train.registry import Registry

        version = int(context.partition_key)
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        actor = config.actor or f"dagster run {context.run.run_id[:8]}"
        books = (registry, store.open(), open_target(target, spec), spec)
        with step(context.log, "deploy", model=spec.name, version=version, run=context.run.run_id):
            found = registry.version(spec.name, version)
            if not config.force:
                _passed_its_gates(found)
            if AUTOMATION_CONDITION_TAG in context.run.tags:
                _not_overtaken(spec.name, version, registry.champion(spec.name))
            digest = found.tags.get(record.BUNDLE, "")
            signature = check(bundle_named(store.open(), found), digest)
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
                    release,
                    *books,
                    version,
                    actor,
                    reason=config.reason,
                    force=config.force,
                    log=context.log,
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
                "strategy": done.strategy,
                "shares": dg.MetadataValue.json({str(v): p for v, p in done.shares.items()}),
                **_steps(done),
                **_standby(done, spec.release.standby_minutes),
                "signature": signature,
                **({"evidence": dg.MetadataValue.json(config.evidence)} if config.evidence else {}),
            }
        )

    return deployment


def _steps(done: "Deployment") -> dict[str, dg.MetadataValue[Any]]:
    if not done.steps:
        return {}
    return {"steps": dg.MetadataValue.md("\n".join(f"- {step}" for step in done.steps))}


def _standby(done: "Deployment", minutes: float) -> dict[str, Any]:
    """The version that is kept warm, and until when: a rollback to it is a switch, not a start."""
    if done.standby is None:
        return {}
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    return {
        "standby": done.standby,
        "standby_until": dg.MetadataValue.timestamp(until.timestamp()),
    }


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
