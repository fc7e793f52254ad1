"""`mlops card`."""

from __future__ import annotations

from pathlib import Path

import click

from mlops_pipelines.command.shared import json_option, say, workbench
from mlops_pipelines.errors import StoreError


@click.command(epilog="Example: mlops card breast_cancer 3 --out card.html")
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it. Default: cards/ under MLOPS_HOME.",
)
@json_option
def card(model: str, version: int | None, out: Path | None, as_json: bool) -> None:
    """Write the model card of a version of MODEL, as a page. Default: the version that serves."""
    from mlops_pipelines.explain.books import newest
    from mlops_pipelines.explain.card import card as of_version
    from mlops_pipelines.explain.card_page import card_page
    from mlops_pipelines.explain.sources import Sources
    from mlops_pipelines.store import write_atomically

    project = workbench().project
    spec = project.model(model).spec
    sources = Sources.of(project)
    version = version or newest(sources.books, model)
    found = of_version(sources, spec, version)
    path = (out or project.home / "cards" / f"{model}_v{version}.html").absolute()
    try:
        write_atomically(path, card_page(found).encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
    said = {"model": model, "version": version, "file": str(path), "limits": list(found.limits)}
    say(said, as_json, lambda: f"the card of {model} version {version}: {path}")
