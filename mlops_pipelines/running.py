"""Runs a job of the code location here and now, in this process, as the UI would launch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import MlopsError

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailedError(MlopsError):
    """A run failed; the message says which step, and why."""


@dataclass(frozen=True)
class Check:
    """How one asset check of a run came out."""

    asset: str
    name: str
    passed: bool
    blocking: bool
    description: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Ran:
    """A finished run: what its assets and checks said."""

    run_id: str
    success: bool
    failure: str
    metadata: Mapping[str, Mapping[str, Any]]
    checks: tuple[Check, ...]

    def check(self, name: str) -> Check | None:
        """The outcome of the check called `name`, None where it did not run."""
        return next((check for check in self.checks if check.name == name), None)

    def metadata_of_check(self, name: str) -> Mapping[str, Any]:
        """What the check called `name` rests on; empty where it did not run."""
        check = self.check(name)
        return check.metadata if check else {}

    def raise_on_failure(self) -> Ran:
        """Itself; raises RunFailedError with the reason where the run failed."""
        if not self.success:
            raise RunFailedError(self.failure)
        return self


def run_job(
    defs: Definitions,
    instance: DagsterInstance,
    name: str,
    *,
    partition: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Ran:
    """Execute the job `name`; never raises for what fails inside of it."""
    result = defs.resolve_job_def(name).execute_in_process(
        instance=instance,
        partition_key=partition,
        run_config={**QUIET, **(config or {})},
        tags=dict(tags or {}),
        raise_on_error=False,
    )
    checks = tuple(
        Check(
            asset=each.asset_key.path[-1],
            name=each.check_name,
            passed=each.passed,
            blocking=bool(each.blocking),
            description=each.description or "",
            metadata={key: entry.value for key, entry in each.metadata.items()},
        )
        for each in result.get_asset_check_evaluations()
    )
    metadata = {
        event.asset_key.path[-1]: {
            key: entry.value for key, entry in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
    return Ran(
        result.run_id,
        result.success,
        "" if result.success else _failure(result, checks),
        metadata,
        checks,
    )


def step_config(model: str, asset: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Run configuration for one asset of `model`."""
    return {"ops": {f"{model}__{asset}": {"config": dict(config)}}}


def _failure(result: Any, checks: tuple[Check, ...]) -> str:
    refused = [
        f"{check.asset} {check.name}: {check.description}"
        for check in checks
        if check.blocking and not check.passed
    ]
    if refused:
        return "; ".join(refused)
    for event in result.all_events:
        if event.is_step_failure:
            return _reason(event.event_specific_data.error)
    return f"run {result.run_id} failed before its first step"


def _reason(error: Any) -> str:
    """The line of the first of our own errors among the causes, else of the last cause."""
    while True:
        name, _, message = error.message.strip().partition(": ")
        if name.startswith("mlops_pipelines."):
            return str(message)
        if error.cause is None:
            return f"{name.rpartition('.')[2]}: {message}"
        error = error.cause
