"""One page per day: our verdict, and below it Evidently's picture of every column."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_pipelines import record
from mlops_pipelines.monitor.compressed_page import compressed
from mlops_pipelines.monitor.night_drift import NightDrift
from mlops_pipelines.monitor.verdict import Drift
from mlops_pipelines.spec import RESERVED_COLUMNS, ModelSpec
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from evidently import Dataset

    from mlops_pipelines.train.registry import Registry

SAMPLE = 5000
COLUMNS = 20
_MOST_LEVELS = 200
_ANSWERS = ("prediction", "score")


@dataclass(frozen=True)
class Page:
    """A report: `uri` in the store, and `path` of the same file here, while the block lasts."""

    uri: str
    path: Path


@contextmanager
def written_report(
    store: Store,
    registry: Registry,
    spec: ModelSpec,
    day: str,
    version: int,
    rows: pd.DataFrame,
    night: NightDrift,
) -> Iterator[Page]:
    """The page on `rows` of those that `version` answered on `day`, beside its training rows."""
    from mlops_pipelines.train.snapshot import load_snapshot, read_rows

    digest = registry.version(spec.name, version).tags[record.SNAPSHOT]
    reference = read_rows(store, load_snapshot(store, spec.name, digest)).train
    page = evidently_html(reference, rows, night.drift, spec, day, night.heat_map.svg()).encode()
    key = f"reports/{spec.name}/{day}/drift_report_v{version}.html"
    store.write_bytes(key, page)
    path = Path(store.uri(key))
    if path.is_file():
        yield Page(path.resolve().as_uri(), path)
        return
    # The store is a bucket: MLflow takes files.
    with tempfile.TemporaryDirectory(prefix="mlops-report-") as folder:
        path = Path(folder) / Path(key).name
        path.write_bytes(page)
        yield Page(store.uri(key), path)


def evidently_html(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    drift: Drift,
    spec: ModelSpec,
    day: str,
    heat_map: str = "",
) -> str:
    """A self-contained page (under 2 MB) on the columns that both frames have.

    At most 5,000 rows of each side are drawn, the same each time, and at most 20 columns, the
    farthest first. Columns without a value on one side, and text with over 200 levels, are named
    but not drawn. `heat_map` is an SVG of all days.
    """
    before, now = _sample(reference), _sample(current)
    numeric, categorical, left_out = _kinds(before, now)
    order = [each.column for each in drift.columns]
    place = {name: index for index, name in enumerate(order)}
    among = sorted((*numeric, *categorical), key=lambda name: place.get(name, len(place)))
    drawn = set(among[:COLUMNS])
    page = _EMPTY
    if drawn:
        numbers = [name for name in numeric if name in drawn]
        levels = [name for name in categorical if name in drawn]
        page = _evidently(before, now, numbers, levels, order)
    head = _head(drift, spec, day, (len(reference), len(before)), len(now))
    if len(among) > len(drawn):
        head += f"<p>Of {len(among)} columns the {len(drawn)} farthest are drawn.</p>"
    if left_out:
        head += f"<p>Not drawn: {escape(', '.join(left_out))}.</p>"
    if heat_map:
        head += f"<h2>All days</h2>{heat_map}"
    block = f'<section class="mlops-verdict">{_STYLE}{head}</section>'
    return compressed(re.sub(r"<body[^>]*>", lambda body: body.group() + block, page, count=1))


_EMPTY = '<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"></head><body></body></html>'

_STYLE = (
    "<style>.mlops-verdict{font-family:sans-serif;max-width:1200px;margin:1.5rem auto;"
    "padding:0 1rem}.mlops-verdict table{border-collapse:collapse}.mlops-verdict td,"
    ".mlops-verdict th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #ddd}"
    ".mlops-verdict td:not(:last-child),.mlops-verdict th{white-space:nowrap}"
    "</style>"
)


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(SAMPLE, random_state=0) if len(frame) > SAMPLE else frame


def _kinds(before: pd.DataFrame, now: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """The common columns: numeric ones, categorical ones, and those that cannot be drawn."""
    bookkeeping = set(RESERVED_COLUMNS) - set(_ANSWERS)
    numeric, categorical, left_out = [], [], []
    for name in (name for name in before.columns if name in now.columns):
        if name in bookkeeping:
            continue
        if before[name].isna().all() or now[name].isna().all():
            left_out.append(str(name))
        elif all(_is_numeric(frame[name]) for frame in (before, now)):
            numeric.append(str(name))
        elif max(frame[name].astype(str).nunique() for frame in (before, now)) > _MOST_LEVELS:
            left_out.append(str(name))
        else:
            categorical.append(str(name))
    return numeric, categorical, left_out


def _is_numeric(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _evidently(
    before: pd.DataFrame,
    now: pd.DataFrame,
    numeric: list[str],
    categorical: list[str],
    order: list[str],
) -> str:
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with warnings.catch_warnings():
        # Constant columns and empty bins make numpy divide by zero inside Evidently.
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.core.container import MetricOrContainer
        from evidently.core.report import Context
        from evidently.presets import DataDriftPreset

        class TableOnly(DataDriftPreset):  # type: ignore[misc]
            """The preset's table of columns alone, in our order.

            Each column drawn a second time took half of the time; and the preset's own word on
            the data set as a whole could contradict the verdict above it. It would sort by its
            score, which for a p value puts what drifted at the end.
            """

            def generate_metrics(self, context: Context) -> list[MetricOrContainer]:
                return list(super().generate_metrics(context))[:1]

            def render(self, context: Context, child_widgets: Any = None) -> list[Any]:
                table = list(super().render(context, child_widgets))[-1]
                table.title = "Each column, the farthest first"
                table.params["data"].sort(key=lambda row: place.get(row["column_name"], len(place)))
                return [table]

        place = {_harmless(name): index for index, name in enumerate(order)}
        definition = DataDefinition(
            numerical_columns=[_harmless(name) for name in numeric],
            categorical_columns=[_harmless(name) for name in categorical],
        )

        def dataset(frame: pd.DataFrame) -> Dataset:
            values = {_harmless(name): frame[name].astype("float64") for name in numeric}
            for name in categorical:
                text = frame[name].astype(object)
                values[_harmless(name)] = text.map(_harmless).where(text.notna(), None)
            return Dataset.from_pandas(pd.DataFrame(values).reset_index(drop=True), definition)

        snapshot = Report([TableOnly()]).run(dataset(now), dataset(before))
        return str(snapshot.get_html_str(as_iframe=False))


def _harmless(value: object) -> str:
    """As text that ends no script: Evidently puts names and levels, which callers send, in one."""
    return str(value).replace("<", "‹")


def _head(
    drift: Drift,
    spec: ModelSpec,
    day: str,
    reference: tuple[int, int],
    logged: int,
) -> str:
    rows = "".join(
        f"<tr><td>{escape(column.column)}</td><td>{column.distance:.2f}</td>"
        f"<td>{column.p_value:.2g}</td><td>{escape(column.what)}</td></tr>"
        for column in drift.columns
        if column.drifted
    )
    shown = (
        f"<table><tr><th>column</th><th>distance</th><th>p</th><th>what changed</th></tr>{rows}"
        "</table>"
        if rows
        else ""
    )
    drawn = " and ".join(
        f"{drawn:,} of {rows:,} {side} rows"
        for side, (rows, drawn) in (
            ("reference", reference),
            ("logged", (drift.verdict.n_window, logged)),
        )
    )
    return (
        f"<h1>{escape(spec.name)}, {escape(day)}: {drift.status.replace('_', ' ')}</h1>"
        f"<p>{escape(drift.sentence)}.</p>{shown}"
        f"<p>All {drift.verdict.n_window:,} rows were judged. A column counts from distance "
        f"{drift.verdict.limit:g} on, where chance would explain it "
        f"{spec.monitor.false_alarms_per_year:g} times a year or less, all columns together; "
        f"{escape(drift.promise)}. Below, Evidently draws {drawn}; its own tests (Stat Test, Drift "
        "Score) are not what the verdict rests on.</p>"
    )
