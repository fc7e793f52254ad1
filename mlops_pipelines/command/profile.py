"""`mlops profile`: what is kept of a model's days, alone or joined with that of other places."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_pipelines.command.shared import json_option, say, workbench
from mlops_pipelines.errors import DataError, NotFoundError, StoreError

if TYPE_CHECKING:
    from mlops_pipelines.measure.evidence import Verdict
    from mlops_pipelines.measure.null import Reference
    from mlops_pipelines.measure.profile import ColumnProfile, Profile
    from mlops_pipelines.measure.window import WindowProfile
    from mlops_pipelines.spec import ModelSpec

_DAY = click.DateTime(["%Y-%m-%d"])
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def profile() -> None:
    """Counts per bin of each column: all that is kept of many rows. They add."""


@profile.command(epilog="Example: mlops profile show breast_cancer 2026-03-01")
@click.argument("model")
@click.argument("day", type=_DAY, metavar="DAY")
@json_option
def show(model: str, day: datetime, as_json: bool) -> None:
    """Show what is kept of what MODEL answered on DAY (UTC), by version."""
    found = _counted(model, [f"{day:%Y-%m-%d}"])
    if not found:
        raise NotFoundError(f"{model} answered no row on {day:%Y-%m-%d}")
    say(_as_value(found), as_json, lambda: "\n".join(map(_window_text, found)))


@profile.command(
    epilog="Example: mlops profile export churn --from 2026-03-01 --to 2026-03-07 --output a.json"
)
@click.argument("model")
@click.option("--from", "first", type=_DAY, required=True, metavar="YYYY-MM-DD", help="First day.")
@click.option("--to", "last", type=_DAY, required=True, metavar="YYYY-MM-DD", help="Last day.")
@click.option("--output", type=_FILE, required=True, help="Where to write it.")
@json_option
def export(model: str, first: datetime, last: datetime, output: Path, as_json: bool) -> None:
    """Write the profiles of MODEL's days to a file, for others to merge. It holds no row."""
    if last < first:
        raise click.UsageError("--to must not be before --from")
    days = [f"{first + timedelta(at):%Y-%m-%d}" for at in range((last - first).days + 1)]
    found = _counted(model, days)
    if not found:
        raise NotFoundError(f"{model} answered no row from {days[0]} to {days[-1]}")
    _write(output, found)
    _say_written(output, found, as_json)


@profile.command(epilog="Example: mlops profile merge hospital.json clinic.json --output all.json")
@click.argument("files", type=_FILE, nargs=-1, required=True)
@click.option("--output", type=_FILE, required=True, help="Where to write it.")
@json_option
def merge(files: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Add the profiles in FILES, of one model from several places, day by day."""
    from mlops_pipelines.measure.window import add

    known: dict[tuple[int, str, str], tuple[Path, WindowProfile]] = {}
    bins: dict[int, tuple[Path, WindowProfile]] = {}
    texts: dict[bytes, Path] = {}
    model: tuple[Path, str] | None = None
    for path in files:
        text = _read(path)
        if text in texts:
            raise DataError(f"{path}: holds the same as {texts[text]}; each is to be counted once")
        texts[text] = path
        for window in _windows(path, text):
            model = model or (path, window.model)
            if window.model != model[1]:
                raise DataError(f"{path}: is of {window.model}, {model[0]} is of {model[1]}")
            first, like = bins.setdefault(window.version, (path, window))
            _same_bins(first, like, path, window)
            key = (window.version, window.start, window.end)
            before = known.get(key)
            known[key] = (path, window if before is None else add([before[1], window]))
    found = [window for _, (_, window) in sorted(known.items(), key=lambda item: item[0])]
    _write(output, found)
    _say_written(output, found, as_json)


@profile.command(epilog="Example: mlops profile verdict all.json --reference churn:3")
@click.argument("file", type=_FILE)
@click.option(
    "--reference", required=True, help="MODEL, MODEL:VERSION, or a file: a profile, or windows."
)
@json_option
def verdict(file: Path, reference: str, as_json: bool) -> None:
    """Say whether all rows counted in FILE, taken together, drifted. Exits 1 on an alarm."""
    from mlops_pipelines.measure.window import add

    found = _windows(file, _read(file))
    model, version, opened, spec = _reference(reference)
    if model is not None and any(window.model != model for window in found):
        raise DataError(f"{file}: is of {found[0].model}, the reference is of {model}")
    if version is not None:
        found = [window for window in found if window.version == version]
        if not found:
            raise DataError(f"{file}: has no row that version {version} answered")
    try:
        window = add(found)
    except (DataError, ValueError) as error:
        raise DataError(f"{file}: {error}") from error
    judged = _judge(file, reference, opened, window, spec)
    told = {
        "file": str(file),
        "model": window.model,
        "version": window.version,
        "start": window.start,
        "end": window.end,
        "rows": window.whole.n,
        "status": judged.status,
        "says": judged.reason,
        "columns": [
            {"column": each.column, "distance": each.distance, "drifted": each.drifted}
            for each in judged.columns
        ],
    }
    drifted = [f"  {each.column}: {each.what}" for each in judged.columns if each.drifted]
    head = f"{window.model} version {window.version}, {window.start} to {window.end}"
    words = judged.status.replace("_", " ")
    text = "\n".join([f"{head}, {window.whole.n} rows: {words}: {judged.reason}", *drifted])
    say(told, as_json, lambda: text)
    sys.exit(1 if judged.status == "alarm" else 0)


def _counted(model: str, days: Sequence[str]) -> list[WindowProfile]:
    from rich.console import Console
    from rich.progress import Progress

    from mlops_pipelines.environment import resolve
    from mlops_pipelines.monitor.day_table import connect
    from mlops_pipelines.monitor.profiles import profile_days, references_of

    bench = workbench()
    project = bench.project
    spec = project.model(model).spec
    engine = resolve(project.environment.store.engine)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(f"counting {model}", total=len(days))
        found = profile_days(
            project.store,
            spec,
            days,
            references_of(bench.registry, model),
            connect(engine) if engine else None,
            progress=lambda done, _: shown.update(task, completed=done),
        )
    return [window for day in days for window in found[day]]


def _reference(
    named: str,
) -> tuple[str | None, int | None, Profile | Reference, ModelSpec | None]:
    """Model, version, reference and declaration of what the user named; a file has only rows."""
    from mlops_pipelines.measure.window import add

    path = Path(named)
    if path.is_file():
        text = _read(path)
        alone = _profile(text)
        if alone is not None:
            return None, None, alone, None
        window = add(_windows(path, text))
        return window.model, window.version, window.whole, None
    from mlops_pipelines.monitor.verdict import open_reference

    model, _, number = named.partition(":")
    if number and not number.isdecimal():
        raise NotFoundError(f"--reference {named}: expected MODEL:VERSION, such as {model}:3")
    bench = workbench()
    spec = bench.project.model(model).spec
    version = int(number) if number else bench.registry.champion(model)
    if version is None:
        raise NotFoundError(f"{model} has no version that serves; name one: {model}:VERSION")
    return model, version, open_reference(bench.registry, model, version), spec


def _judge(
    file: Path,
    named: str,
    reference: Profile | Reference,
    window: WindowProfile,
    spec: ModelSpec | None,
) -> Verdict:
    """As a night is judged, with what the model declares of drift; a file promises one a year."""
    from mlops_pipelines.measure.drift import drift_verdict
    from mlops_pipelines.monitor.verdict import judge

    days = (datetime.fromisoformat(window.end) - datetime.fromisoformat(window.start)).days
    often = 1.0 if spec is None else spec.monitor.false_alarms_per_year
    # So many windows as long as this one make a year, and one in ten of very long ones may alarm.
    per_year = max(365 / max(1, days), 10 * often)
    try:
        if spec is not None:
            return judge(spec, reference, window.whole, windows_per_year=per_year).verdict
        return drift_verdict(
            reference, window.whole, false_alarms_per_year=often, windows_per_year=per_year
        )
    except ValueError as error:
        raise DataError(f"{file} against {named}: {error}") from error


def _same_bins(first: Path, like: WindowProfile, path: Path, window: WindowProfile) -> None:
    from mlops_pipelines.measure.profile import require_same_bins

    try:
        require_same_bins(like.whole, window.whole)
    except ValueError as error:
        raise DataError(f"{path} and {first}, version {window.version}: {error}") from error


def _profile(text: bytes) -> Profile | None:
    from mlops_pipelines.measure.profile import Profile

    try:
        return Profile.from_json(text.decode("utf-8", "replace"))
    except DataError:
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error


def _windows(path: Path, text: bytes) -> list[WindowProfile]:
    from mlops_pipelines.measure.window import from_json

    try:
        found = list(from_json(text))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if not found:
        raise DataError(f"{path}: holds no window")
    return found


def _write(path: Path, found: Sequence[WindowProfile]) -> None:
    from mlops_pipelines.measure.window import to_json
    from mlops_pipelines.store import write_atomically

    try:
        write_atomically(path.absolute(), to_json(found).encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _as_value(found: Sequence[WindowProfile]) -> Any:
    import json

    from mlops_pipelines.measure.window import to_json

    return json.loads(to_json(found))


def _say_written(path: Path, found: Sequence[WindowProfile], as_json: bool) -> None:
    told = {
        "file": str(path),
        "model": found[0].model,
        "versions": sorted({window.version for window in found}),
        "windows": len(found),
        "rows": sum(window.whole.n for window in found),
        "start": min(window.start for window in found),
        "end": max(window.end for window in found),
    }
    text = (
        f"{told['model']}, {told['start']} to {told['end']}: {told['rows']} rows "
        f"in {told['windows']} windows: {path}"
    )
    say(told, as_json, lambda: text)


def _window_text(window: WindowProfile) -> str:
    head = f"{window.model} version {window.version}, {window.start}: {window.whole.n} rows"
    width = max((len(column.name) for column in window.whole.columns), default=0)
    lines = [f"  {c.name.ljust(width)}  {_column_text(c)}" for c in window.whole.columns]
    for name, parts in window.segments.items():
        of = ", ".join(f"{value} {part.n}" for value, part in parts.items())
        lines.append(f"  by {name}: {of}")
    return "\n".join([head, *lines])


def _column_text(column: ColumnProfile) -> str:
    missing = f"{column.counts[-1] / max(1, column.n):.1%} missing"
    if column.mean is not None:
        out = (column.counts[0] + column.counts[-2]) / max(1, column.n)
        return f"mean {column.mean:.4g}, {out:.1%} out of range, {missing}"
    if column.kind == "numeric" or not any(column.counts[:-1]):
        return missing
    place = max(range(len(column.counts) - 1), key=column.counts.__getitem__)
    return f"{column.cells[place]} {column.counts[place] / column.n:.1%}, {missing}"
