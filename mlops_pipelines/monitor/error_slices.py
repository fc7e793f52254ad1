"""Where a version goes wrong: slices that a shallow tree finds, declared segments, single rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.estimate import CONFIDENCE
from mlops_pipelines.measure.metrics import per_row_loss
from mlops_pipelines.measure.outputs import Floats, Outputs
from mlops_pipelines.measure.slices import by_slice, worst_rows
from mlops_pipelines.monitor.outcome import Outcome
from mlops_pipelines.monitor.previous import Replayed, answers
from mlops_pipelines.spec import RESERVED_COLUMNS, ModelSpec

WORST = 20
WORST_COLUMNS = ["prediction_id", "predicted_at", "label", "prediction", "score"]

_DEPTH = 3
_LEAST_ROWS = 20
_LEVELS = 10
_RESAMPLES = 500
_SEED = 0


@dataclass(frozen=True)
class ErrorSlice:
    """The rows that `rule` describes: how wrong they are on average, beside all others.

    `error` is the share of wrong answers, or the mean absolute error, of n rows, with a 95 %
    interval (Wilson's, or a bootstrap); `previous` is the previous version's on the same rows,
    None where there is none. `found` says whether the tree found it (then n are rows that it was
    not found on), or it is declared.
    """

    rule: str
    n: int
    error: float
    low: float
    high: float
    previous: float | None
    found: bool


@dataclass(frozen=True)
class ErrorSlices:
    """Slices by how wrong their rows are; `overall` is the same over all n rows of the day."""

    overall: float | None
    n: int
    slices: tuple[ErrorSlice, ...]
    what: str

    @property
    def worse(self) -> tuple[ErrorSlice, ...]:
        """Those whose whole interval lies above the mean of the day, the worst first."""
        bound = float("inf") if self.overall is None else self.overall
        return tuple(each for each in self.slices if each.low > bound)

    def markdown(self) -> str:
        """A table of all slices, the worst first."""
        if self.overall is None:
            return "too few labelled rows to look for slices"
        lines = [
            f"{self.what} {self.overall:.4g} on all {self.n} labelled rows; "
            "slices that were found are measured on rows they were not found on",
            "",
            f"| slice | rows | {self.what} | 95 % interval | previous version | |",
            "|---" * 6 + "|",
        ]
        for each in self.slices:
            before = "" if each.previous is None else f"{each.previous:.4g}"
            kind = "found" if each.found else "declared"
            mark = "worse" if each.low > self.overall else ""
            lines.append(
                f"| {_cell(each.rule)} | {each.n} | {each.error:.4g} | "
                f"{each.low:.4g} to {each.high:.4g} | {before} | {f'{mark} {kind}'.strip()} |"
            )
        return "\n".join(lines)


def error_slices(spec: ModelSpec, own: Outcome, theirs: Replayed | None = None) -> ErrorSlices:
    """Where the answers of labelled rows are wrong: declared segments, and what a tree finds.

    A regression tree of depth 3 is fitted to the loss of a random half of the rows (seeded), and
    each of its leaves is measured on the other half, so that chance does not flatter it (the
    honest trees of Athey & Imbens 2016). Slices below 20 rows are left out.
    """
    what = "mean absolute error" if spec.task == "regression" else "share wrong"
    error = _error(own, own.outputs)
    if not len(error):
        return ErrorSlices(None, 0, (), what)
    before = None if theirs is None or theirs.outputs is None else _error(own, theirs.outputs)

    def measured(rule: str, places: np.ndarray[Any, Any], found: bool) -> ErrorSlice:
        low, high = _interval(error[places], bool(own.classes))
        previous = None if before is None else float(before[places].mean())
        mean = float(error[places].mean())
        return ErrorSlice(rule, len(places), mean, low, high, previous, found)

    declared = [name for name in spec.data.segments if name in own.rows.columns]
    slices = [
        measured(f"{part.segment} = {part.value}", part.result, False)
        for part in by_slice(own.rows[declared], lambda places: places, _LEAST_ROWS)
        if part.result is not None
    ]
    slices += [
        measured(rule, places, True)
        for rule, places in _found(spec, own)
        if len(places) >= _LEAST_ROWS
    ]
    slices.sort(key=lambda each: (-each.error, each.rule))
    return ErrorSlices(float(error.mean()), len(error), tuple(slices), what)


def most_wrong(spec: ModelSpec, own: Outcome, theirs: Replayed | None = None) -> pd.DataFrame:
    """The rows with the largest loss, at most 20, the worst first.

    Columns: prediction_id, predicted_at, label, prediction, score, loss, and `previous`, what the
    previous version answers (None where it was not asked).
    """
    empty = own.rows.reindex(columns=WORST_COLUMNS).iloc[:0]
    empty = empty.assign(loss=np.float64(), previous=None)
    if not len(own.rows):
        return empty
    try:
        loss = per_row_loss(spec.task, own.truth, own.outputs, own.classes)
    except DataError:
        return empty
    places = worst_rows(loss, WORST)
    found = own.rows.iloc[places][WORST_COLUMNS].assign(loss=loss[places])
    return found.reset_index(drop=True).assign(
        previous=answers(theirs, len(own.rows)).iloc[places].tolist()
    )


def _error(own: Outcome, outputs: Outputs) -> Floats:
    if not own.classes:
        return np.abs(own.truth.astype(np.float64) - outputs.prediction.astype(np.float64))
    wrong = [a != b for a, b in zip(own.truth.tolist(), outputs.prediction.tolist(), strict=True)]
    return np.asarray(wrong, dtype=np.float64)


def _interval(error: Floats, shares: bool) -> tuple[float, float]:
    if shares:
        # Wilson 1927: of few rows without an error, a resample has none either.
        n, share = len(error), float(error.mean())
        middle, square = share + CONFIDENCE**2 / (2 * n), CONFIDENCE**2 / n
        half = CONFIDENCE * float(np.sqrt(share * (1 - share) / n + square / (4 * n)))
        low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
        return max(0.0, low), min(1.0, high)
    random = np.random.default_rng(_SEED)
    # Of many rows the mean of a sample of them varies as that of all, but for the root of n.
    kept = error if len(error) <= 2000 else random.choice(error, 2000, replace=False)
    drawn = kept[random.integers(len(kept), size=(_RESAMPLES, len(kept)))].mean(axis=1)
    spread = (drawn - kept.mean()) * (len(kept) / len(error)) ** 0.5
    low, high = np.quantile(error.mean() + spread, [0.025, 0.975])
    return float(low), float(high)


def _found(spec: ModelSpec, own: Outcome) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Rules of a tree's leaves, and the places of the rows it did not see that they describe."""
    if len(own.rows) < 4 * _LEAST_ROWS:
        return []
    from sklearn.tree import DecisionTreeRegressor

    encoded, names = _encoded(own.rows)
    if not names:
        return []
    try:
        loss = per_row_loss(spec.task, own.truth, own.outputs, own.classes)
    except DataError:
        loss = _error(own, own.outputs)
    half = np.random.default_rng(_SEED).permutation(len(loss)) % 2 == 0
    tree = DecisionTreeRegressor(
        max_depth=_DEPTH, min_samples_leaf=_LEAST_ROWS, random_state=_SEED
    ).fit(encoded[half], loss[half])
    other = np.flatnonzero(~half)
    leaves = tree.apply(encoded[other])
    if tree.tree_.node_count == 1:
        return []
    rules = _rules(tree.tree_, names, [bool(each.any()) for each in np.isnan(encoded).T])
    return [(rules[leaf], other[leaves == leaf]) for leaf in np.unique(leaves).tolist()]


def _encoded(rows: pd.DataFrame) -> tuple[Floats, list[tuple[str, str | None]]]:
    """Features as numbers (n, f): text as one column per common level; (name, level) of each."""
    columns: list[Floats] = []
    names: list[tuple[str, str | None]] = []
    for name in rows.columns:
        if name in RESERVED_COLUMNS:
            continue
        series = rows[name]
        if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
            values = series.to_numpy(dtype=np.float64, na_value=np.nan)
            columns.append(np.where(np.isfinite(values), values, np.nan).astype(np.float32))
            names.append((str(name), None))
            continue
        levels = series.astype(object).map(str).where(series.notna(), "missing")
        for level in levels.value_counts().index[:_LEVELS]:
            columns.append((levels == level).to_numpy(dtype=np.float32))
            names.append((str(name), str(level)))
    return (np.column_stack(columns) if columns else np.empty((len(rows), 0))), names


def _rules(
    tree: Any, names: Sequence[tuple[str, str | None]], gaps: Sequence[bool]
) -> dict[int, str]:
    """What each leaf's rows have in common, in words; `gaps` says which columns miss values."""
    rules: dict[int, str] = {}

    def walk(node: int, said: dict[tuple[str, str], str]) -> None:
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left == right:
            rules[node] = " and ".join(said.values())
            return
        column = int(tree.feature[node])
        name, level = names[column]
        at = f"{float(tree.threshold[node]):.4g}"
        missing_left = bool(tree.missing_go_to_left[node])
        for child, below in ((left, True), (right, False)):
            if level is not None:
                rule = f"{name} is not {level}" if below else f"{name} = {level}"
            else:
                rule = f"{name} {'≤' if below else '>'} {at}"
                if below == missing_left and gaps[column]:
                    rule += " or missing"
            # A later bound on the same side of a column is the narrower one.
            side = level if level is not None else ("≤" if below else ">")
            walk(child, {**said, (name, side): rule})

    walk(0, {})
    return rules


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
