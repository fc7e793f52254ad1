"""The command line of a project of the test's own; every worker it starts is stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlops_pipelines.cli import main

Mlops = Callable[..., Any]


@pytest.fixture
def mlops(project_root: Path) -> Iterator[Mlops]:
    """`mlops ARGUMENTS --json` as its value; `fails=True` gives the line of an expected error."""

    def call(*arguments: str, fails: bool = False) -> Any:
        found = CliRunner().invoke(main, [*arguments, "--json"])
        assert found.exit_code == int(fails), found.output
        return found.stderr.strip() if fails else json.loads(found.stdout)

    yield call
    for folder in (project_root / "assets").iterdir():
        CliRunner().invoke(main, ["stop", folder.name])
