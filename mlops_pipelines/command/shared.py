"""What every command has: one line for an error, --json, and the project it works on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mlops_pipelines.errors import MlopsError

if TYPE_CHECKING:
    from mlops_pipelines.workbench import Workbench


class Group(click.Group):
    """Errors raised on purpose become one line and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except MlopsError as error:
            click.echo(f"error: {error}", err=True)
            context.exit(1)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flag --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def workbench() -> Workbench:
    """The project of the working directory, opened."""
    from mlops_pipelines.project import Project
    from mlops_pipelines.workbench import Workbench

    return Workbench(Project.find())


def say(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print `value` as JSON, or what `text` says of it."""
    click.echo(json.dumps(value, indent=2, default=str) if as_json else text())
