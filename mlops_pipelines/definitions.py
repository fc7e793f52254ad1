"""The code location that Dagster loads: what assets/ declares, and what is there once for all."""

from __future__ import annotations

import os
import warnings

import dagster as dg

from mlops_pipelines.component import broken_defs, model_defs
from mlops_pipelines.errors import DeclarationError
from mlops_pipelines.importing import bind_assets
from mlops_pipelines.project import Project
from mlops_pipelines.react.sensors import sensors
from mlops_pipelines.resources import resources


def build_definitions(project: Project) -> dg.Definitions:
    """Everything `project` declares; a broken model is one asset and takes no other down.

    Raises DeclarationError with every mistake where Dagster only validates (`dg check defs`).
    """
    specs = {name: declared.spec for name, declared in project.models.items()}
    if project.broken and os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI"):
        raise DeclarationError([each for broken in project.broken for each in broken.mistakes])
    declared = _declared(project)
    rollbacks = [job for job in declared.jobs or [] if job.name.endswith("_rollback")]
    return dg.Definitions.merge(
        declared,
        dg.Definitions(
            resources=resources(project),
            sensors=[*sensors(specs, rollbacks), _automation()],
            executor=dg.in_process_executor,
        ),
    )


def _declared(project: Project) -> dg.Definitions:
    # Dagster parses YAML before a component can; what it cannot parse would take all models down.
    if any(not mistake.path for broken in project.broken for mistake in broken.mistakes):
        return dg.Definitions.merge(
            *(model_defs(declared) for declared in project.models.values()),
            *(broken_defs(each.name, each.file, each.mistakes) for each in project.broken),
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        tree = dg.ComponentTree(
            defs_module=bind_assets(project.root),
            project_root=project.root,
            code_location_name="mlops_pipelines",
        )
        return tree.build_defs()


def _automation() -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        "release_and_retrain",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Releases each new version once; trains again when the rollback sensor asks.",
    )


defs = build_definitions(Project.find())
