"""`mlops errors`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mlops_pipelines.command.shared import json_option, say, workbench

if TYPE_CHECKING:
    from mlops_pipelines.explain.errors import Again, Failed, Kind


@click.command(epilog="Example: mlops errors breast_cancer 0198c2f4-… --replay --in-version 4")
@click.argument("model")
@click.argument("error_id", required=False)
@click.option("--version", type=int, help="Only failures of this version.")
@click.option("--kind", help="Only failures of this exception type.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Only failures from this day (UTC) on.",
)
@click.option("--values", is_flag=True, help="Show the rows themselves, not only their types.")
@click.option("--replay", "again", is_flag=True, help="Answer the rows again; exit 1 if it fails.")
@click.option("--in-version", type=int, help="Answer them in this version's bundle instead.")
@json_option
def errors(
    model: str,
    error_id: str | None,
    version: int | None,
    kind: str | None,
    since: datetime | None,
    values: bool,
    again: bool,
    in_version: int | None,
    as_json: bool,
) -> None:
    """Show the requests that MODEL failed on, by kind, or the one with ERROR_ID.

    An error id is in the answer that the caller got.
    """
    from mlops_pipelines.explain.errors import failed, kinds

    if error_id is None and (values or again):
        raise click.UsageError("--values and --replay are of one error: name its ERROR_ID")
    if error_id is not None and (version is not None or kind or since):
        raise click.UsageError("--version, --kind and --since choose among all errors, not of one")
    if in_version is not None and not again:
        raise click.UsageError("--in-version says where to --replay")
    bench = workbench()
    bench.project.model(model)
    log_dir = bench.target.log_dir(model)
    if error_id is None:
        found = kinds(log_dir, version, kind, since.strftime("%Y-%m-%d") if since else "")
        say([asdict(each) for each in found], as_json, lambda: _table(model, found))
        return
    one = failed(log_dir, model, error_id)
    told = asdict(one) | {"rows_kept": len(one.rows), "types": one.types}
    if not values:
        del told["rows"]
    if not again:
        say(told, as_json, lambda: _story(one, values))
        return
    from mlops_pipelines.explain.errors import ask_again

    outcome = ask_again(bench.registry, bench.project.store, model, one, in_version)
    say(
        told | {"replayed": asdict(outcome)},
        as_json,
        lambda: f"{_story(one, values)}\n{_outcome(outcome)}",
    )
    sys.exit(0 if outcome.outcome == "answers now" else 1)


def _table(model: str, found: Sequence[Kind]) -> str:
    if not found:
        return f"{model}: no such failure is kept"
    rows = [("kind", "digest", "count", "first", "last", "versions", "example")]
    for each in found:
        count = f"{each.count}{'+' if each.at_least else ''}"
        times = (each.first[:19], each.last[:19])
        versions = ", ".join(map(str, each.versions))
        rows.append((each.kind, each.digest, count, *times, versions, each.example))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, f"next: mlops errors {model} {found[0].example}"])


def _story(one: Failed, values: bool) -> str:
    trace = f", trace {one.trace_id}" if one.trace_id else ""
    lines = [
        f"{one.kind} {one.digest}, version {one.version}, {one.failed_at}",
        f"  request   {one.request_id}{trace}",
        f"  rows      {len(one.rows)} of {one.request_rows} kept",
        *(f"  frame     {frame}" for frame in one.frames),
    ]
    if one.rows:
        lines += [f"  feature   {name}: {types}" for name, types in one.types.items()]
    if values:
        lines += [f"  row {at}: {_shown(one, row)}" for at, row in enumerate(one.rows)]
    return "\n".join(lines)


def _shown(one: Failed, row: Sequence[Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(one.columns, row, strict=True))


def _outcome(outcome: Again) -> str:
    text = f"version {outcome.version} {outcome.outcome}"
    if outcome.kind is None:
        return text
    digest = outcome.digest or "(its server is too old to tell where)"
    where = f" at {outcome.frames[-1]}" if outcome.frames else ""
    return f"{text}: {outcome.kind} {digest}{where}"
