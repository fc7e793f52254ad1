"""Windows add in any order, and a verdict on their sum is the verdict on all their rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.profile import Column, Profile, reference_profile
from mlops_pipelines.measure.window import (
    MISSING,
    OTHER,
    WindowProfile,
    add,
    from_json,
    read_file,
    segment_levels,
    to_json,
    window_like,
)

COLUMNS = [Column("x", "numeric"), Column("site", "categorical"), Column("ward", "numeric")]


def rows(n: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.1, np.nan, rng.normal(shift, size=n)),
            "site": rng.choice(np.array(["a", "b", "ü", None], dtype=object), size=n),
            "ward": rng.integers(4, size=n),
        }
    )


REFERENCE = reference_profile(rows(1000, 0), COLUMNS)
LEVELS = segment_levels(REFERENCE, ["site", "ward", "nowhere"])


def window(frame: pd.DataFrame, day: int = 1, version: int = 1) -> WindowProfile:
    start, end = f"2026-01-{day:02}", f"2026-01-{day + 1:02}"
    return window_like(frame, REFERENCE, "churn", version, start, end, LEVELS)


def exact(found: WindowProfile) -> Any:
    """All but the sums, whose last digit depends on the order."""

    def counts(part: Profile) -> Any:
        return part.n, [(*column.bins, column.counts) for column in part.columns]

    parts = {n: {v: counts(p) for v, p in by.items()} for n, by in found.segments.items()}
    return found.model, found.version, found.start, found.end, counts(found.whole), parts


PARTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 10**6), st.integers(1, 27)), min_size=3, max_size=3
)


@settings(max_examples=20, deadline=None)
@given(PARTS)
def test_windows_add_in_any_order(parts: list[tuple[int, int, int]]) -> None:
    frames = [rows(n, seed) for n, seed, _ in parts]
    a, b, c = (window(f, day) for f, (_, _, day) in zip(frames, parts, strict=True))
    together = window(pd.concat(frames))
    together = replace(together, start=min(a.start, b.start, c.start), end=max(a.end, b.end, c.end))
    assert exact(add([a, b, c])) == exact(together)
    assert exact(add([add([a, b]), c])) == exact(add([a, add([b, c])])) == exact(together)
    assert add([a, b]) == add([b, a])
    assert add([a, b, c]) == add([c, a, b])
    assert add([a, b, c]).whole.columns[0].total == pytest.approx(
        together.whole.columns[0].total, abs=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.floats(-1, 1)), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_the_verdict_on_the_sum_is_the_verdict_on_all_rows(
    sites: list[tuple[int, float]], seed: int
) -> None:
    frames = [rows(n, seed + place, shift) for place, (n, shift) in enumerate(sites)]
    on_sum = drift_verdict(
        REFERENCE, add([window(frame) for frame in frames]).whole, false_alarms_per_year=1
    )
    on_rows = drift_verdict(REFERENCE, window(pd.concat(frames)).whole, false_alarms_per_year=1)
    assert (on_sum.status, on_sum.reason) == (on_rows.status, on_rows.reason)
    assert on_sum.columns == on_rows.columns


def test_segments_are_the_values_that_the_reference_knows() -> None:
    assert {name: set(values) for name, values in LEVELS.items()} == {
        "site": {"a", "b", "ü"},
        "ward": {"0", "1", "2", "3"},
    }
    frame = pd.DataFrame({"x": 1.0, "site": ["a", "z", None, "a"], "ward": [1, 7, 1, 2.0]})
    found = window(frame)
    sizes = {name: {v: part.n for v, part in by.items()} for name, by in found.segments.items()}
    assert sizes == {
        "site": {"a": 2, OTHER: 1, MISSING: 1},
        "ward": {"1": 2, "2": 1, OTHER: 1},
    }
    without = window(frame.drop(columns="site"))
    assert {v: part.n for v, part in without.segments["site"].items()} == {MISSING: 4}
    assert segment_levels(REFERENCE, ["x"]) == {}


def test_a_segment_column_of_many_values_has_at_most_fifty() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"site": rng.integers(200, size=5000).astype(str)})
    levels = segment_levels(reference_profile(frame, [Column("site", "categorical")]), ["site"])
    assert len(levels["site"]) == 50


def test_windows_survive_a_file() -> None:
    first, second = window(rows(50, 1)), window(rows(0, 2), 2, version=2)
    other = window_like(
        rows(9, 3), reference_profile(rows(80, 4), COLUMNS), "x", 3, "2026-01-01", "2026-02-01"
    )
    text = to_json([first, second, other], source={"rows": 1})
    assert from_json(text) == (first, second, other)
    assert read_file(text.encode()) == ((first, second, other), {"source": {"rows": 1}})
    assert text.count('"edges"') == 4
    assert WindowProfile.from_json(first.to_json()) == first
    with pytest.raises(DataError, match=r"^profile: expected one window, found 3$"):
        WindowProfile.from_json(text)


def test_hours_make_a_day() -> None:
    frame = rows(240, 5)
    bounds = [f"2026-01-01T{hour:02}:00" for hour in range(24)] + ["2026-01-02T00:00"]
    hours = [
        window_like(frame[at * 10 : at * 10 + 10], REFERENCE, "churn", 1, start, end, LEVELS)
        for at, (start, end) in enumerate(pairwise(bounds))
    ]
    day = add(reversed(hours))
    assert (day.start, day.end) == (bounds[0], bounds[-1])
    assert exact(replace(day, start="2026-01-01", end="2026-01-02")) == exact(window(frame))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"model": "x"}, "profiles of different models do not add: churn and x"),
        ({"version": 2}, "profiles of different versions do not add: 1 and 2"),
        (
            {"whole": reference_profile(rows(50, 9), COLUMNS)},
            "column x: the profiles have different bins; "
            "make both with profile_like and the same reference",
        ),
    ],
)
def test_what_does_not_add_is_one_clear_line(other: dict[str, Any], message: str) -> None:
    one = window(rows(10, 1))
    with pytest.raises(DataError) as error:
        add([one, replace(one, **other)])
    assert str(error.value) == message
    with pytest.raises(DataError, match=r"^profile: there are no windows to add$"):
        add([])


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        ('"schema":2', '"schema":3', "schema 3; windows are of schema 2"),
        ('"n":10', '"n":11', "column x: 10 rows are counted of 11"),
        ('"kind":"numeric"', '"kind":"odd"', "column x: kind 'odd'"),
        ('"counts":[[', '"counts":[[1,', "column x: expected 23 whole counts"),
        ('"totals":[', '"totals":["many",', "not readable"),
        ('"start":"2026-01-01"', '"start":"monday"', "Invalid isoformat string: 'monday'"),
        ("{", "[", "not readable"),
        ('"bins":0', '"bins":7', "not readable"),
    ],
)
def test_a_file_that_others_altered_is_one_clear_line(found: str, put: str, message: str) -> None:
    reference = reference_profile(rows(3000, 0), COLUMNS)
    text = window_like(rows(10, 1), reference, "churn", 1, "2026-01-01", "2026-01-02").to_json()
    assert found in text
    with pytest.raises(DataError) as error:
        from_json(text.replace(found, put, 1))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
