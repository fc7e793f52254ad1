"""The code location that Dagster loads: what assets/ declares, and what is there once for all."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import dagster as dg

from mlops_pipelines.component import broken_defs, model_defs
from mlops_pipelines.errors import DeclarationError, Mistake
from mlops_pipelines.importing import bind_folder
from mlops_pipelines.project import Broken, Declared, Project, declaration_file
from mlops_pipelines.react.sensors import sensors
from mlops_pipelines.resources import resources


def build_definitions(project: Project) -> dg.Definitions:
    """Everything `project` declares; a broken model is one asset and takes no other down.

    Raises DeclarationError with every mistake where Dagster only validates (`dg check defs`).
    """
    specs = {name: declared.spec for name, declared in project.models.items()}
    if project.broken and _only_validates():
        raise DeclarationError([each for broken in project.broken for each in broken.mistakes])
    declared = dg.Definitions.merge(*_declared(project, project.root / "assets")[0])
    rollbacks = [job for job in declared.jobs or [] if job.name.endswith("_rollback")]
    return dg.Definitions.merge(
        declared,
        dg.Definitions(
            resources=resources(project),
            sensors=[*sensors(specs, rollbacks), _automation()],
            executor=dg.in_process_executor,
        ),
    )


def _only_validates() -> bool:
    return bool(os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI"))


def _declared(project: Project, folder: Path) -> tuple[list[dg.Definitions], bool]:
    """What is declared in `folder`, and whether Dagster loaded all of it.

    Dagster loads a tree of components whole or not at all, so around what it cannot load the
    folders are loaded one by one; post-processing and loose Python files of the folders above wait
    until that is mended.
    """
    broken = [each for each in project.broken if each.folder.is_relative_to(folder)]
    failure: Exception | None = None
    if not any(path.suffix in (".py", ".yaml", ".yml") for path in folder.rglob("*")):
        return [], True
    if all(each.contained for each in broken):
        try:
            return [_tree(project, folder)], True
        except Exception as error:
            if _only_validates():
                raise
            failure = error
    found, sound = _apart(project, folder)
    if failure is not None and sound:
        # Each part can be loaded, so it is the folder itself that cannot.
        found.append(broken_defs(project.root, _unloadable(project, folder, failure)))
    return found, failure is None and sound


def _apart(project: Project, folder: Path) -> tuple[list[dg.Definitions], bool]:
    parts = [_model(project, each) for each in project.models.values() if each.folder == folder]
    wrong = [each for each in project.broken if each.folder == folder]
    found = [part for part, _ in parts] + [broken_defs(project.root, each) for each in wrong]
    if found:
        return found, all(sound for _, sound in parts)
    inside = (path for path in sorted(folder.iterdir()) if path.is_dir() and _is_seen(path))
    loaded = [_declared(project, path) for path in inside]
    return [part for parts, _ in loaded for part in parts], all(sound for _, sound in loaded)


def _tree(project: Project, folder: Path) -> dg.Definitions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        tree = dg.ComponentTree(
            defs_module=bind_folder(project.root, folder),
            project_root=project.root,
            code_location_name="mlops_pipelines",
        )
        built = tree.build_defs()
    # Only one Definitions of a merge may carry its tree.
    return built if folder == project.root / "assets" else _without_tree(built)


def _without_tree(built: dg.Definitions) -> dg.Definitions:
    return dg.Definitions(
        assets=built.assets,
        asset_checks=built.asset_checks,
        jobs=built.jobs,
        schedules=built.schedules,
        sensors=built.sensors,
        resources=built.resources,
    )


def _model(project: Project, declared: Declared) -> tuple[dg.Definitions, bool]:
    try:
        return model_defs(declared), True
    except Exception as error:  # noqa: BLE001 - whatever Dagster refuses is shown
        return broken_defs(project.root, _unloadable(project, declared.folder, error)), False


def _unloadable(project: Project, folder: Path, error: Exception) -> Broken:
    """What Dagster could not load; the reason is at the end of the chain of causes."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    file = declaration_file(folder) or folder
    reason = " ".join(str(error).split())[:500]
    shown = file.relative_to(project.root).as_posix()
    mistake = Mistake(shown, 1, 1, "", f"cannot be loaded: {type(error).__name__}: {reason}")
    return Broken(folder.name, folder, shown, None, (mistake,), contained=False)


def _is_seen(folder: Path) -> bool:
    return not folder.name.startswith((".", "__"))


def _automation() -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        "release_and_retrain",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Releases each new version once; trains again when the rollback sensor asks.",
    )


defs = build_definitions(Project.find())
