"""Columns that know more than they can know when the model is asked.

A metric on rows that hold the answer is worth nothing, and production does not have such a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.release.security.alone import REMEDY, stands_out
from mlops_pipelines.release.security.case import Case
from mlops_pipelines.release.security.report import Finding, Seen

FEWEST_ROWS = 50
FEWEST_OF_CLASS = 10
CONSISTENT = 0.999
"""Share of rows on which a copy agrees with the target."""
PURE, LIFT, COMMON, GROUP = 0.98, 10, 0.8, 30
"""Nulls tell the target where such a share of at least 30 of them is of one class, which is not a
common one, and where ten times fewer are of another class than usually."""
LATER, FEWEST_LATER = 0.01, 5
"""Share and number of rows in which a time must be later than the row's own."""
TRACE = 0.1
"""AUC beyond one half, or half of a rank correlation, from which a row number tells the target."""


def leaks(case: Case) -> Seen:
    """Findings on the training rows, and how much the best single feature predicts alone."""
    if len(case.train) < FEWEST_ROWS:
        return Seen()
    certain = {**dict(_telling_nulls(case)), **dict(_copies(case))}
    single = stands_out(case, certain)
    findings = [*_future(case), *_row_numbers(case), *certain.values(), *single.findings]
    return Seen(findings, single.measures)


def _copies(case: Case) -> Iterator[tuple[str, Finding]]:
    """Features whose values are the target's under other names, or on another scale."""
    truth = case.truth(case.train)
    for name in case.features:
        values = case.train[name]
        evidence = ""
        if case.classes:
            levels, known = pd.factorize(values, use_na_sentinel=False)
            # As many levels as classes, each level nearly all of one class and all different.
            if len(known) == len(case.classes):
                table = pd.crosstab(levels, truth).to_numpy()
                agree = table.max(axis=1).sum() / table.sum()
                if agree >= CONSISTENT and len(set(table.argmax(axis=1))) == len(table):
                    evidence = f"each of its {len(table)} values goes with one class"
        elif name in case.numeric:
            known = values.notna().to_numpy()
            numbers = values.to_numpy(dtype=np.float64)[known]
            if known.sum() >= FEWEST_ROWS and numbers.std() > 0 and truth[known].std() > 0:
                alike = abs(float(np.corrcoef(numbers, truth[known])[0, 1]))
                if alike >= 1 - 1e-6:
                    evidence = "the target on another scale"
        if evidence:
            yield name, Finding("high", "copy of the target", f"column {name}: {evidence}", REMEDY)


def _telling_nulls(case: Case) -> Iterator[tuple[str, Finding]]:
    """Features that are null, or filled in, nearly only where the target has one value.

    Such a column is often written because of the outcome: a reason for leaving, a case number.
    """
    if not case.classes:
        return
    truth = pd.Series(case.truth(case.train))
    shares = truth.value_counts(normalize=True)
    for name in case.features:
        null = case.train[name].isna().to_numpy()
        if min(null.sum(), (~null).sum()) < GROUP:
            continue
        for group, said in ((null, "null"), (~null, "filled in")):
            inside = truth[group].value_counts(normalize=True)
            label, pure = inside.index[0], float(inside.iloc[0])
            usual = float(shares[label])
            if usual <= COMMON and pure >= PURE and (1 - pure) <= (1 - usual) / LIFT:
                yield (
                    name,
                    Finding(
                        "high",
                        "nulls that tell the target",
                        f"column {name}: where it is {said} ({int(group.sum())} rows), {pure:.1%} "
                        f"are of one class, which is {usual:.1%} of all rows",
                        REMEDY,
                    ),
                )
                break


def _row_numbers(case: Case) -> Iterator[Finding]:
    """Whole numbers that count the rows, and tell the target because the source is sorted by it.

    With `event_time` a column may count time, which is known.
    """
    if case.snapshot.event_time is not None:
        return
    truth = case.truth(case.train)
    for name in case.numeric:
        numbers = case.train[name].to_numpy(dtype=np.float64)
        steps = np.diff(numbers)
        counts = (numbers == np.floor(numbers)).all() and ((steps > 0).all() or (steps < 0).all())
        if not counts or np.ptp(numbers) > 3 * len(numbers):
            continue
        trace = _trace(numbers, truth, case.classes)
        if trace >= TRACE:
            yield Finding(
                "high",
                "row number",
                f"column {name} counts the rows, and the source is sorted by the target or "
                "collected class by class",
                "name it in data.drop: new rows have no such place",
            )


def _trace(numbers: Floats, truth: np.ndarray, classes: Sequence[Any]) -> float:
    """How far ranks of `numbers` tell the target: |AUC − ½| of a class, or half of |Spearman|."""
    from scipy.stats import mannwhitneyu, spearmanr

    if not classes:
        return abs(float(spearmanr(numbers, truth).statistic)) / 2
    traces = [0.0]
    for label in classes:
        inside = truth == label
        if FEWEST_OF_CLASS <= inside.sum() <= len(truth) - FEWEST_OF_CLASS:
            found = mannwhitneyu(numbers[inside], numbers[~inside])
            if found.pvalue < 1e-6:
                pairs = inside.sum() * (~inside).sum()
                traces.append(abs(float(found.statistic) / pairs - 0.5))
    return max(traces)


def _future(case: Case) -> Iterator[Finding]:
    """Features that are times later than the row's own: ISO 8601 text, or seconds since 1970."""
    if case.snapshot.event_time is None:
        return
    rows = case.some(case.train, 20_000)
    events = rows[case.snapshot.event_time]
    for name in case.features:
        times = _as_times(rows[name], events)
        if times is None:
            continue
        later = int((times > events).sum())
        known = int(times.notna().sum())
        if later >= max(FEWEST_LATER, LATER * known):
            yield Finding(
                "medium",
                "column of the future",
                f"column {name}: a time later than {case.snapshot.event_time} in {later} of "
                f"{known} rows",
                f"{REMEDY}; if it is known in advance, such as a date of expiry, accept it",
            )


def _as_times(values: pd.Series, events: pd.Series) -> pd.Series | None:
    """`values` as times, or None where they are none: at least 95 of 100 must be."""
    known = values.dropna()
    if len(known) < FEWEST_LATER or pd.api.types.is_bool_dtype(values.dtype):
        return None
    if not pd.api.types.is_numeric_dtype(values.dtype):
        text = values.astype(object).where(values.notna(), None)
        if not known.astype(str).str.match(r"\d{4}-\d\d-\d\d").mean() >= 0.95:
            return None
        return pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    seconds = events.astype("datetime64[s, UTC]").astype("int64")
    years = 3 * 366 * 86400
    for unit, scale in (("s", 1), ("ms", 1000)):
        near = known.between((seconds.min() - years) * scale, (seconds.max() + years) * scale)
        if near.mean() >= 0.95:
            return pd.to_datetime(values.where(near), unit=unit, utc=True, errors="coerce")
    return None
