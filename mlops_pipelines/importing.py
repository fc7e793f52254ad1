"""Imports what a declaration names, from an installed module or from a file beside it."""

from __future__ import annotations

import importlib
import sys
import traceback
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from mlops_pipelines.errors import DataError


def bind_assets(root: Path) -> ModuleType:
    """Bind the import name `assets` to the folder of declarations of the project `root`.

    `assets` is data, not a package of the wheel; so the name is bound here rather than found on
    `sys.path`, where another project's `assets` could stand first.
    """
    folder = str(root / "assets")
    bound = sys.modules.get("assets")
    if bound is not None and list(getattr(bound, "__path__", [])) == [folder]:
        return bound
    for name in [name for name in sys.modules if name == "assets" or name.startswith("assets.")]:
        del sys.modules[name]
    return _bind("assets", folder)


def bind_folder(root: Path, folder: Path) -> ModuleType:
    """The module of `folder`, which is `root`/assets or a folder in it."""
    assets = bind_assets(root)
    inside = folder.relative_to(root / "assets").parts
    return _bind(".".join(("assets", *inside)), str(folder)) if inside else assets


def _bind(name: str, folder: str) -> ModuleType:
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [folder]
    module = sys.modules[name] = module_from_spec(spec)
    return module


def load_attribute(path: str, root: Path, folder: Path) -> Any:
    """The object that `module:attribute` names; raises DataError with what is missing where.

    A file `<folder>/<module>.py` beside the declaration comes before an installed module.
    """
    module_name, _, attribute = path.partition(":")
    file = folder / f"{module_name}.py"
    try:
        if file.is_file():
            bind_assets(root)
            inside = folder.relative_to(root / "assets").parts
            module = importlib.import_module(".".join(("assets", *inside, module_name)))
        else:
            module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and module_name.startswith(str(error.name)):
            raise DataError(
                f"{path}: module {module_name!r} cannot be imported; "
                f"it is neither installed nor a file in {folder.name}/"
            ) from error
        where = f"module {module_name!r}"
        if file.is_file():
            where = f"{file.relative_to(root)}{_line_in(file, error)}"
        raise DataError(
            f"{path}: {where} fails when it is imported: {type(error).__name__}: {_one_line(error)}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise DataError(f"{path}: module {module_name!r} has no {attribute!r}") from error


def _line_in(file: Path, error: Exception) -> str:
    """Where in `file` an import failed, as `:line`."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f":{lines[-1]}" if lines else ""


def _one_line(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(text.split())
