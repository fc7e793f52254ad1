"""Profiles add, survive JSON, and take any column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.profile import (
    Column,
    ColumnProfile,
    Profile,
    add,
    profile_like,
    reference_profile,
)

COLUMNS = (Column("number", "numeric"), Column("level", "categorical"))
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float)),
        st.one_of(st.none(), st.text(max_size=2), st.booleans(), st.integers(0, 99)),
    ),
    max_size=60,
)


def frame(rows: list[tuple[object, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["number", "level"]).astype({"level": object})


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS, ROWS)
def test_profiles_add(
    first: list[tuple[object, object]],
    second: list[tuple[object, object]],
    third: list[tuple[object, object]],
) -> None:
    reference = reference_profile(frame(first), COLUMNS)
    a, b, both = (profile_like(frame(rows), reference) for rows in (second, third, second + third))
    added = add(a, b)
    assert [column.counts for column in added.columns] == [column.counts for column in both.columns]
    assert added.n == both.n == len(second) + len(third)
    assert all(column.n == both.n for column in both.columns)
    assert [np.isfinite(column.total) for column in added.columns] == [True, True]
    assert add(a, b) == add(b, a)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_profiles_survive_json(rows: list[tuple[object, object]]) -> None:
    profile = reference_profile(frame(rows), COLUMNS)
    assert Profile.from_json(profile.to_json()) == profile
    assert all(len(column.cells) == len(column.counts) for column in profile.columns)


def test_the_sum_of_values_adds() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=1000)
    whole = reference_profile(pd.DataFrame({"number": values}), COLUMNS[:1])
    halves = [
        profile_like(pd.DataFrame({"number": part}), whole) for part in (values[:300], values[300:])
    ]
    assert add(*halves).columns[0].mean == pytest.approx(values.mean())


def test_a_small_frame_in_full() -> None:
    rows = [(1.0, "a"), (2.0, "b"), (2.0, "b"), (np.inf, None), (None, "c")]
    reference = reference_profile(frame(rows), COLUMNS)
    assert reference == Profile(
        5,
        (
            ColumnProfile("number", "numeric", (1.0, 2.0, 2.0), (), (0, 1, 2, 0, 2), 5.0),
            ColumnProfile("level", "categorical", (), ("b", "a", "c"), (2, 1, 1, 0, 1), 0.0),
        ),
    )
    window = profile_like(frame([(0.5, "z"), (1.5, "a"), (3.0, None)]), reference)
    assert [column.counts for column in window.columns] == [(1, 1, 0, 1, 0), (0, 1, 0, 1, 1)]
    assert reference.columns[0].cells == ("below 1", "1 to 2", "2 to 2", "above 2", "missing")
    assert reference.columns[0].mean == pytest.approx(5 / 3)
    assert reference.columns[1].mean is None


@pytest.mark.parametrize(("n", "bins"), [(100, 5), (500, 10), (1000, 20), (5000, 20)])
def test_bins_hold_about_equally_many(n: int, bins: int) -> None:
    values = np.random.default_rng(1).normal(size=n)
    (column,) = reference_profile(pd.DataFrame({"number": values}), COLUMNS[:1]).columns
    assert column.counts == (0, *[n // bins] * bins, 0, 0)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([True, False, None, True], dtype=object),
        pd.Series([1, 2, None, 2], dtype="Int64"),
        pd.Series(pd.to_datetime(["2024-01-01", None, "2024-01-03", "2024-01-03"])),
        pd.Series([1, 2, 2, None], dtype="category"),
        pd.Series(["1", "x", "2", "2"]),
        pd.Series([1.5, np.inf, 2.5, 2.5]),
    ],
)
@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_any_column_can_be_profiled(values: pd.Series, kind: str) -> None:
    columns = [Column("x", kind)]  # type: ignore[arg-type]
    reference = reference_profile(values.to_frame("x"), columns)
    assert reference.columns[0].n == 4
    if kind == "numeric":
        assert reference.columns[0].counts == (0, 1, 2, 0, 1)
    assert profile_like(values.to_frame("x"), reference) == reference


def test_an_integer_stays_the_same_level_beside_missing_values() -> None:
    reference = reference_profile(pd.DataFrame({"level": [1, 2, 2]}), COLUMNS[1:])
    window = profile_like(pd.DataFrame({"level": [1, None, 2.0]}), reference)
    assert window.columns[0].levels == ("2", "1")
    assert window.columns[0].counts == (1, 1, 0, 1)


def test_identifiers_are_all_other_levels() -> None:
    reference = reference_profile(
        pd.DataFrame({"level": [f"id-{i}" for i in range(1000)]}), COLUMNS[1:]
    )
    assert reference.columns[0].levels == ()
    assert reference.columns[0].counts == (500, 0)


def test_many_levels_are_counted_on_other_rows_than_they_are_chosen_on() -> None:
    levels = np.random.default_rng(1).integers(100, size=4000).astype(str)
    (column,) = reference_profile(pd.DataFrame({"level": levels}), COLUMNS[1:]).columns
    assert len(column.levels) == 50
    assert column.n == 2000
    assert column.counts[-2] / column.n == pytest.approx(0.5, abs=0.04)


def test_a_column_that_is_gone_counts_as_missing() -> None:
    reference = reference_profile(frame([(1.0, "a")] * 3), COLUMNS)
    window = profile_like(pd.DataFrame({"number": [1.0, 1.0]}), reference)
    assert [column.counts for column in window.columns] == [(0, 2, 0, 0), (0, 0, 2)]
    with pytest.raises(DataError, match=r"^profile: no column gone among 2 columns$"):
        reference_profile(frame([(1.0, "a")]), [*COLUMNS, Column("gone", "numeric")])


def test_other_bins_do_not_add() -> None:
    a, b = (reference_profile(frame([(x, "a")]), COLUMNS) for x in (1.0, 2.0))
    with pytest.raises(ValueError, match=r"^column number: the profiles have different bins"):
        add(a, b)
    with pytest.raises(ValueError, match=r"^profiles of different columns: level$"):
        add(a, reference_profile(frame([(1.0, "a")]), COLUMNS[:1]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 2, "n": 0, "columns": []}', "schema 2; this release reads schema 1"),
        ("{", "not readable as JSON of schema 1"),
        ("[]", "not readable as JSON of schema 1"),
        ('{"schema": 1}', "not readable as JSON of schema 1"),
        ('{"schema": 1, "n": 1, "columns": [{}]}', "not readable as JSON of schema 1"),
    ],
)
def test_a_profile_that_cannot_be_read_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        Profile.from_json(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
