"""Imports what a declaration names: a function or class of an installed module, or of a file beside it."""

from __future__ import annotations

import importlib
import sys
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
    spec = ModuleSpec("assets", None, is_package=True)
    spec.submodule_search_locations = [folder]
    module = sys.modules["assets"] = module_from_spec(spec)
    return module


def load_attribute(path: str, root: Path, folder: Path) -> Any:
    """The object that `module:attribute` names; raises DataError with what is missing where.

    A file `<folder>/<module>.py` beside the declaration comes before an installed module.
    """
    module_name, _, attribute = path.partition(":")
    beside = folder / f"{module_name}.py"
    try:
        if beside.is_file():
            bind_assets(root)
            inside = folder.relative_to(root / "assets").parts
            module = importlib.import_module(".".join(("assets", *inside, module_name)))
        else:
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise DataError(
            f"{path}: module {module_name!r} cannot be imported ({error}); "
            f"it is neither installed nor a file in {folder.name}/"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise DataError(f"{path}: module {module_name!r} has no {attribute!r}") from error
