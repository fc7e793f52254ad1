"""`mlops reproduce`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mlops_pipelines.command.shared import json_option, say, workbench
from mlops_pipelines.waiting import bar

if TYPE_CHECKING:
    from mlops_pipelines.explain.reproduce import Changed, Reproduction


@click.command(epilog="Example: mlops reproduce breast_cancer 3")
@click.argument("model")
@click.argument("version", type=int)
@json_option
def reproduce(model: str, version: int, as_json: bool) -> None:
    """Train VERSION of MODEL again, from its snapshot, code and seeds, and compare.

    Exits 0 only if every prediction on the holdout, parameter and metric is the same. Nothing is
    registered.
    """
    from mlops_pipelines.explain.reproduce import reproduce as train_again
    from mlops_pipelines.logs import progress

    bench = workbench()
    project = bench.project
    with bar(f"training {model} version {version} again"):
        found = train_again(bench.registry, project.store, project.root, model, version, progress)
    say(found.as_dict(), as_json, lambda: _text(found))
    sys.exit(0 if found.identical else 1)


def _text(found: Reproduction) -> str:
    verdict = "identical to the last bit" if found.identical else "NOT identical"
    rows = f"{found.rows} holdout rows, "
    if found.differing:
        rows += f"{found.differing} differ, by {found.largest:.3g} at most"
    else:
        rows += "all answered the same"
    if not found.golden:
        rows += "; the answers written down at training do not come out again"
    lines = [
        f"{found.model} version {found.version}: {verdict}",
        f"  predictions  {rows}",
        f"  compared     {found.params} parameters, {found.metrics} metrics",
        *(f"  differs      {_changed(each)}" for each in found.changed),
        f"  code         {(found.commit or 'the present tree')[:16]}",
        *(f"  note         {note}" for note in found.notes),
    ]
    return "\n".join(lines)


def _changed(each: Changed) -> str:
    then, now = ("absent" if v is None else repr(v) for v in (each.recorded, each.now))
    return f"{each.name}: recorded {then}, now {now}"
