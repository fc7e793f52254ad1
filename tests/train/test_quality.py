"""Suites: no alarm on an ordinary holdout, an alarm on real faults, mistakes with their place."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mlops_pipelines.errors import DataError, DeclarationError
from mlops_pipelines.store import Store
from mlops_pipelines.train.quality import Failed, check_rows, learn_suite, read_suite
from mlops_pipelines.train.snapshot import Snapshot, SnapshotRows, freeze, read_rows
from mlops_pipelines.train.source import load_rows
from tests.train.conftest import ROOT, example_spec, make_spec, mixed_frame


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, SnapshotRows]:
    store = Store(str(tmp_path_factory.mktemp("store")))
    snapshot = freeze(mixed_frame(1000), make_spec(drop=("seen",)), store, "csv x")
    return snapshot, read_rows(store, snapshot)


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "card_fraud"])
def test_no_alarm_on_the_holdout_and_one_on_a_change_of_unit(name: str, store: Store) -> None:
    spec = example_spec(name)
    frame = load_rows(spec.data.source, ROOT, ROOT / "assets" / name)
    snapshot = freeze(frame, spec, store, "x")
    rows = read_rows(store, snapshot)
    suite = json.loads(json.dumps(learn_suite(rows.train, snapshot)))
    fine = check_rows(rows.holdout, suite)
    assert (fine.passed, fine.failed, fine.rows) == (True, (), len(rows.holdout))
    column = next(
        one.name
        for one in snapshot.columns
        if one.type == "double" and not one.nullable and rows.train[one.name].min() > 0.1
    )
    for factor in (10, 0.1) if name != "card_fraud" else ():
        wrong = rows.holdout.assign(**{column: rows.holdout[column] * factor})
        found = check_rows(wrong, suite)
        assert [one.column for one in found.failed] == [column]


def test_a_suite_holds_on_the_rows_it_was_learned_from_however_they_trend(store: Store) -> None:
    frame = mixed_frame(1000).assign(seen=pd.date_range("2026-01-01", periods=1000, freq="h"))
    frame["amount"] = [0.0] * 800 + [1000.0] * 200
    snapshot = freeze(frame, make_spec(event_time="seen"), store, "x")
    rows = read_rows(store, snapshot)
    assert not check_rows(rows.all, learn_suite(rows.train, snapshot)).passed
    assert check_rows(rows.all, learn_suite(rows.all, snapshot)).passed


def test_each_fault_is_named_with_its_column(mixed: tuple[Snapshot, SnapshotRows]) -> None:
    snapshot, rows = mixed
    suite, holdout = learn_suite(rows.train, snapshot), rows.holdout
    assert check_rows(holdout, suite).passed
    wrong = holdout.assign(
        amount=holdout["amount"].where(holdout.index > 90),
        count=None,
        color=["mauve"] * (len(holdout) - 100) + ["red"] * 100,
        y="maybe",
    ).drop(columns="member")
    found = check_rows(wrong, suite)
    assert not found.passed
    assert {(one.column, one.expectation) for one in found.failed} == {
        ("", "expect_table_columns_to_match_set"),
        ("amount", "expect_column_values_to_not_be_null"),
        ("count", "expect_column_values_to_not_be_null"),
        ("color", "expect_column_values_to_be_in_set"),
        ("y", "expect_column_values_to_be_in_set"),
    }
    by_column = {one.column: one.sentence for one in found.failed}
    assert by_column[""] == "missing columns: member"
    assert "are none of the 3 known ones; allowed 5%" in by_column["color"]
    assert "are null; allowed 1%" in by_column["count"]
    assert "mauve" not in found.markdown
    assert found.markdown.startswith(f"{found.expectations - 5} of {found.expectations} ")


def test_text_where_numbers_were_is_a_failure(mixed: tuple[Snapshot, SnapshotRows]) -> None:
    snapshot, rows = mixed
    wrong = rows.holdout.assign(count="seven")
    found = check_rows(wrong, learn_suite(rows.train, snapshot))
    assert [one.column for one in found.failed] == ["count"]
    assert "could not be checked (it holds str)" in found.failed[0].sentence
    assert "seven" not in found.markdown


def test_the_target_may_be_unknown_still(mixed: tuple[Snapshot, SnapshotRows]) -> None:
    snapshot, rows = mixed
    suite = learn_suite(rows.train, snapshot)
    production = rows.holdout.drop(columns="y").assign(prediction_id="x")
    assert check_rows(production, suite, without=["y"]).passed
    assert check_rows(production, suite).failed == (
        Failed("", "expect_table_columns_to_match_set", "missing columns: y"),
    )


def test_no_rows_fail(mixed: tuple[Snapshot, SnapshotRows]) -> None:
    snapshot, rows = mixed
    found = check_rows(rows.holdout[:0], learn_suite(rows.train, snapshot))
    assert "expect_table_row_count_to_be_between" in {one.expectation for one in found.failed}


def test_a_suite_of_another_schema_is_refused() -> None:
    with pytest.raises(DataError, match="the suite has schema 2; 1 was expected"):
        check_rows(pd.DataFrame({"a": [1]}), {"schema": 2, "expectations": []})


def test_a_written_suite_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "assets" / "demo" / "expectations.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "- {expectation: expect_column_values_to_be_between, column: a, min_value: 0}\n"
        "- {expectation: expect_column_mean_to_be_between, column: a, max_value: 2}\n"
        "- {expectation: expect_column_to_exist, column: b}\n"
    )
    suite = read_suite(path)
    assert suite["origin"] == "assets/demo/expectations.yaml"
    found = check_rows(pd.DataFrame({"a": [-1.0, 9.0]}), suite)
    assert found.expectations == 3
    assert [one.sentence for one in found.failed] == [
        "column 'b' is missing",
        "a: 50% of 2 values are outside 0 to ∞; allowed 0%",
        "a: expect_column_mean_to_be_between does not hold (-∞ to 2), found 4",
    ]


MISTAKES = [
    ("a: 1\n", "assets/demo/expectations.yaml:1:1 must be a list of expectations"),
    ("- 3\n", "assets/demo/expectations.yaml:1:3 0: must be a mapping with `expectation` and its"),
    (
        "- {expectation: expect_column_values_to_be_betwen, column: a}\n",
        "assets/demo/expectations.yaml:1:4 0.expectation: is no expectation of Great Expectations, "
        "'expect_column_values_to_be_betwen'; did you mean 'expect_column_values_to_be_between'?",
    ),
    (
        "- expectation: expect_column_values_to_be_between\n  column: a\n  min_val: 0\n",
        "assets/demo/expectations.yaml:3:3 0.min_val: is no argument of "
        "expect_column_values_to_be_between; did you mean 'min_value'? allowed: ",
    ),
    (
        "- expectation: expect_column_values_to_be_in_set\n  value_set: [1]\n",
        "assets/demo/expectations.yaml:1:3 0.column: is required by "
        "expect_column_values_to_be_in_set, and missing",
    ),
    (
        "- expectation: expect_column_values_to_be_between\n  column: a\n"
        "  min_value: 0\n  mostly: 7\n",
        "assets/demo/expectations.yaml:4:3 0.mostly: ",
    ),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_each_mistake_in_a_written_suite_has_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "assets" / "demo" / "expectations.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(DeclarationError) as caught:
        read_suite(path)
    assert str(caught.value).startswith(message)
