"""Runs one track of one model here and now: train, release, monitor, roll back, serve."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_pipelines import record
from mlops_pipelines.errors import MlopsError, NotFoundError, ReleaseError
from mlops_pipelines.keys import days_of, run_tags, versions_of
from mlops_pipelines.running import Ran, run_job, step_config
from mlops_pipelines.workbench import Workbench

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from mlops_pipelines.release.targets.target import Service

AT_ONCE = {"wait_seconds": 0.0}
"""Who waits at a terminal is told at once that another release is under way."""


def train_model(bench: Workbench, model: str, *, accept: bool = False) -> tuple[Ran, int]:
    """Run `<model>_train`; the version it registered. Raises RunFailedError.

    With `accept`, what is expected of the rows is learned from them, not from the champion's.
    """
    bench.project.model(model)
    config = step_config(model, "training_data", {"accept": accept})
    with bench.instance() as instance:
        ran = run_job(
            bench.defs, instance, f"{model}_train", config=config, tags=run_tags(model, "train")
        )
    return ran, int(ran.raise_on_failure().metadata["model"]["version"])


def release_version(bench: Workbench, model: str, version: int | None) -> tuple[Ran, int]:
    """Run `<model>_release` for `version`, or for the newest one."""
    bench.project.model(model)
    if version is None:
        versions = bench.registry.versions(model)
        if not versions:
            raise NotFoundError(f"{model} has no version yet; train it with: mlops train {model}")
        version = versions[0].version
    bench.registry.version(model, version)
    with bench.instance() as instance:
        _know(instance, model, version)
        ran = run_job(
            bench.defs,
            instance,
            f"{model}_release",
            partition=str(version),
            config=step_config(model, "deployment", AT_ONCE),
            tags=run_tags(model, "release"),
        )
    return ran, version


def monitor_day(bench: Workbench, model: str, day: str | None) -> tuple[Ran, str]:
    """Run `<model>_monitor` for `day`, or for today so far."""
    spec = bench.project.model(model).spec
    day = day or datetime.now(UTC).strftime("%Y-%m-%d")
    if not days_of(spec).has_partition_key(day):
        raise MlopsError(
            f"{model}: {day} cannot be looked at; days are YYYY-MM-DD from monitor.start "
            f"({spec.monitor.start}) to today"
        )
    with bench.instance() as instance:
        ran = run_job(
            bench.defs,
            instance,
            f"{model}_monitor",
            partition=day,
            tags=run_tags(model, "monitor"),
        )
    return ran, day


def roll_back(bench: Workbench, model: str, to: int | None, reason: str) -> Ran:
    """Run `<model>_rollback`: `to`, or the version before, takes the traffic back."""
    bench.project.model(model)
    serving = bench.registry.champion(model)
    if serving is None:
        raise ReleaseError(f"{model}: no version serves, so there is nothing to roll back from")
    to = to if to is not None else bench.registry.previous(model)
    if to is None:
        raise ReleaseError(f"{model}: version {serving} is the first; name another with --to")
    if to == serving:
        raise ReleaseError(f"{model}: version {to} serves already")
    if record.QUARANTINED in bench.registry.version(model, to).tags:
        raise ReleaseError(
            f"{model}: version {to} is quarantined; name another with --to, "
            "or deploy it in the UI with force: true"
        )
    config = {"reason": reason, "actor": "mlops rollback", "quarantine": serving, **AT_ONCE}
    with bench.instance() as instance:
        _know(instance, model, to)
        return run_job(
            bench.defs,
            instance,
            f"{model}_rollback",
            partition=str(to),
            config=step_config(model, "deployment", config),
            tags=run_tags(model, "rollback"),
        )


def serve_champion(bench: Workbench, model: str, replicas: int | None) -> Service:
    """Start the champion's workers, or scale them to `replicas`."""
    from mlops_pipelines.release.rollout import reconcile

    spec = bench.project.model(model).spec
    champion = bench.registry.champion(model)
    if champion is None:
        raise ReleaseError(f"{model}: no version was deployed yet; mlops release {model}")
    bench.target.scale(model, replicas or spec.release.replicas.min)
    reconcile(bench.registry, bench.project.store, bench.target, spec)
    service = bench.target.service(model)
    if service is None or not service.replicas:
        raise ReleaseError(f"{model}: version {champion} does not answer")
    return service


def _know(instance: DagsterInstance, model: str, version: int) -> None:
    """A version that MLflow has and Dagster was never told of becomes a partition."""
    name = str(versions_of(model).name)
    if str(version) not in instance.get_dynamic_partitions(name):
        instance.add_dynamic_partitions(name, [str(version)])
