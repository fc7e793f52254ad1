"""Writes a declaration from a data file: `mlops new churn --from churn.csv --target churned`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import DataError, MlopsError
from mlops_pipelines.spec import RESERVED_COLUMNS
from mlops_pipelines.store import write_atomically
from mlops_pipelines.tasks import GATE_METRIC

if TYPE_CHECKING:
    import pandas as pd

CLASSES = 20
"""A whole-number target with more values than this is a quantity to regress on."""

ESTIMATORS = {
    "binary_classification": "sklearn.ensemble:HistGradientBoostingClassifier",
    "multiclass_classification": "sklearn.ensemble:HistGradientBoostingClassifier",
    "regression": "sklearn.ensemble:HistGradientBoostingRegressor",
}


@dataclass(frozen=True)
class Guess:
    """What the data file says about a declaration; `notes` tell why."""

    task: str
    event_time: str | None
    first_day: str | None
    drop: tuple[str, ...]
    notes: tuple[str, ...]


def write_declaration(
    root: Path, name: str, data: Path, target: str, drop: Sequence[str] = ()
) -> tuple[Path, Guess]:
    """Write assets/<name>/defs.yaml for the rows in `data`; raises DataError, MlopsError."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise MlopsError(
            f"a model's name is lower-case letters, digits and underscores, not {name!r}"
        )
    path = root / "assets" / name / "defs.yaml"
    if path.exists():
        raise MlopsError(
            f"{path.relative_to(root)} exists already; edit it, or choose another name"
        )
    frame, kind = _read(data)
    guess = _guess(frame, target, drop)
    resolved = data.resolve()
    shown = resolved.relative_to(root) if resolved.is_relative_to(root) else resolved
    write_atomically(path, _yaml(name, f"{kind}: {_quoted(str(shown))}", target, guess).encode())
    return path, guess


def _read(data: Path) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    if not data.is_file():
        raise DataError(f"{data}: there is no such file")
    kind = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}.get(data.suffix.lower())
    if kind is None:
        raise DataError(f"{data}: a .csv or .parquet file was expected, not {data.suffix or data}")
    try:
        frame = pd.read_csv(data) if kind == "csv" else pd.read_parquet(data)
    except Exception as error:
        raise DataError(f"{data} is not {kind}: {str(error).splitlines()[0]}") from error
    if frame.empty:
        raise DataError(f"{data} has no rows")
    if len(frame.columns) == 1 and kind == "csv":
        found = next((sign for sign in ";\t|" if sign in str(frame.columns[0])), None)
        if found:
            raise DataError(f"{data}: columns are separated by {found!r}; a comma was expected")
    return frame, kind


def _guess(frame: pd.DataFrame, target: str, drop: Sequence[str]) -> Guess:
    for column in (target, *drop):
        if column not in frame.columns:
            near = difflib.get_close_matches(column, [str(c) for c in frame.columns], n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            known = ", ".join(map(str, frame.columns))
            raise DataError(f"there is no column {column!r}; {hint}columns: {known}")
    notes: list[str] = []
    task = _task(frame[target], notes)
    times = {
        str(column): parsed
        for column in frame.columns
        if column not in (target, *drop) and (parsed := _times(frame[column])) is not None
    }
    event_time = next(iter(times), None)
    if event_time is not None:
        notes.append(f"{event_time} holds times: splits and windows follow it")
    dropped = list(drop)
    for column in frame.columns:
        why = _useless(frame[column]) if column not in (target, event_time, *drop) else None
        if column in RESERVED_COLUMNS and column not in (target, event_time, *drop):
            why = "has a name that the prediction log uses for itself (rename it to keep it)"
        if str(column) in times and column != event_time:
            why = "holds times, and only one column can be event_time"
        if why:
            dropped.append(str(column))
            notes.append(f"{column} is dropped: it {why}")
    first = None if event_time is None else times[event_time].min().strftime("%Y-%m-%d")
    return Guess(task, event_time, first, tuple(dropped), tuple(notes))


def _task(target: pd.Series[Any], notes: list[str]) -> str:
    import pandas as pd

    values = target.dropna()
    distinct = values.nunique()
    if len(values) < len(target) and distinct:
        nulls = len(target) - len(values)
        raise DataError(
            f"target {target.name!r} has {nulls} nulls in {len(target)} rows; "
            "leave rows without a label out"
        )
    if distinct < 2:
        raise DataError(f"target {target.name!r} has {distinct} value(s); two or more are needed")
    if distinct == 2:
        notes.append(f"{target.name} has two values: binary_classification")
        return "binary_classification"
    numeric = pd.api.types.is_numeric_dtype(values)
    whole = numeric and bool((values == values.round()).all())
    if not numeric or (whole and distinct <= CLASSES):
        notes.append(f"{target.name} has {distinct} values: multiclass_classification")
        return "multiclass_classification"
    notes.append(f"{target.name} is a number with {distinct} values: regression")
    return "regression"


def _times(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """The column as times, None where it holds none."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return None
    sample = column.dropna().astype(str)
    if sample.empty or not sample.head(50).str.match(r"^\d{4}-\d{2}-\d{2}").all():
        return None
    parsed = pd.to_datetime(sample, errors="coerce", format="ISO8601", utc=True)
    return None if parsed.isna().any() else parsed


def _useless(column: pd.Series[Any]) -> str | None:
    """Why a model should not see `column`, None where it may."""
    import pandas as pd

    values = column.dropna()
    if values.empty:
        return "has no value in any row"
    if values.nunique() == 1 and len(values) == len(column):
        return "has one value in all rows"
    text = not pd.api.types.is_numeric_dtype(column)
    if len(values) >= 50 and values.nunique() > 0.95 * len(values):
        if text:
            return "is different in nearly every row, as an identifier is"
        if pd.api.types.is_integer_dtype(values) and values.is_monotonic_increasing:
            return "counts the rows"
    return None


def _yaml(name: str, source: str, target: str, guess: Guess) -> str:
    metric = GATE_METRIC[guess.task]
    lines = [
        "# Validate with: mlops check    Train with: mlops train " + name,
        *(_comment(note) for note in guess.notes),
        "type: mlops_pipelines.MonitoredModel",
        "",
        "attributes:",
        f"  name: {name}",
        f"  description: {_quoted(f'Predicts {target}.')}",
        f"  task: {guess.task}",
        "  data:",
        f"    source: {{{source}}}",
        f"    target: {_quoted(target)}",
    ]
    if guess.event_time:
        lines.append(f"    event_time: {_quoted(guess.event_time)}")
    if guess.drop:
        lines.append(f"    drop: [{', '.join(_quoted(column) for column in guess.drop)}]")
    lines += [
        "    # segments: [region]           # every metric also per value of these columns",
        "  estimator:",
        f'    python: "{ESTIMATORS[guess.task]}"',
        "    params: {learning_rate: 0.1}",
        "  gates:",
        f"    - {{metric: {metric}, within_champion: 0.01}}   # on the same rows",
        "  monitor:",
        '    schedule: "0 2 * * *"',
    ]
    if guess.first_day and guess.first_day < "2026-01-01":
        lines.append(f"    start: {guess.first_day}")
    lines += [
        "  react:",
        "    rollback: {mode: recommend}    # automatic acts while you sleep",
        "",
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """`text` as a YAML scalar that is read as this text."""
    import yaml

    plain = re.fullmatch(r"[A-Za-z_/][\w./-]*", text, re.ASCII)
    if plain and text.lower() not in ("true", "false", "null"):
        return text
    return str(yaml.safe_dump(text, default_style='"', width=10_000)).strip()


def _comment(text: str) -> str:
    return "# " + "".join(sign if sign.isprintable() else "?" for sign in text)
