"""Wheels made a folder that another machine's Python imports from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mlops_pipelines.release.images.base import BasePython
from mlops_pipelines.release.images.wheelhouse import foreign, pip


def install(wheels: Sequence[Path], python: BasePython, wheelhouse: Path, folder: Path) -> None:
    """Unpack `wheels` for `python` into `folder`, without their scripts.

    Raises TargetError.
    """
    pip(
        "install",
        "--isolated",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--target",
        str(folder),
        *foreign(python),
        *map(str, wheels),
        doing="unpacking the runtime's wheels",
        wheelhouse=wheelhouse,
    )
    shutil.rmtree(folder / "bin", ignore_errors=True)


def leave_out_tests(folder: Path) -> None:
    """Remove the packages' own test suites: folders `tests` inside a package."""
    for tests in [*folder.glob("*/**/tests")]:
        if tests.is_dir():
            shutil.rmtree(tests, ignore_errors=True)
