"""Snapshots: named by their content, split for good, and refused with one line each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import DataError, NotFoundError, StoreError
from mlops_pipelines.store import Store
from mlops_pipelines.train.columns import Column
from mlops_pipelines.train.content import content_digest, row_hashes
from mlops_pipelines.train.snapshot import (
    Snapshot,
    features,
    freeze,
    load_snapshot,
    profile_columns,
    read_rows,
    recompute_digest,
)
from tests.train.conftest import make_spec, mixed_frame

NO_TIME = {"drop": ("seen",)}


def test_columns_are_typed_and_rows_come_back_as_they_were(store: Store) -> None:
    frame = mixed_frame()
    snapshot = freeze(frame, make_spec(event_time="seen", segments=("color",)), store, "csv x")
    assert snapshot.columns == (
        Column("amount", "double", True),
        Column("count", "long", False),
        Column("color", "string", True),
        Column("member", "boolean", False),
    )
    assert [(one.name, one.kind) for one in profile_columns(snapshot)] == [
        ("amount", "numeric"),
        ("count", "numeric"),
        ("color", "categorical"),
        ("member", "categorical"),
    ]
    assert (snapshot.classes, snapshot.positive) == (("no", "yes"), "yes")
    assert snapshot.class_counts == frame["y"].value_counts().to_dict()
    assert snapshot.first_time == "2026-01-01T00:00:00+00:00"
    assert Snapshot.from_json(snapshot.to_json()) == snapshot
    assert load_snapshot(store, "demo", snapshot.digest) == snapshot
    assert recompute_digest(store, snapshot) == snapshot.digest

    rows = read_rows(store, snapshot)
    back = pd.concat([rows.train, rows.holdout], ignore_index=True)
    assert list(back) == list(frame)
    pd.testing.assert_series_equal(back["amount"], frame["amount"])
    assert back["color"].fillna("-").tolist() == frame["color"].fillna("-").tolist()
    assert len(rows.holdout) == snapshot.holdout_rows == 80
    assert rows.train["seen"].max() < rows.holdout["seen"].min()


def test_the_same_rows_are_written_once(store: Store) -> None:
    spec = make_spec(**NO_TIME)
    first = freeze(mixed_frame(), spec, store, "csv x")
    path = Path(store.uri(f"{first.key}/data.parquet"))
    written = path.stat().st_mtime_ns
    assert freeze(mixed_frame(), spec, store, "another source") == first
    assert path.stat().st_mtime_ns == written
    other = mixed_frame()
    other.loc[0, "count"] += 1
    assert freeze(other, spec, store, "csv x").digest != first.digest
    assert freeze(mixed_frame()[::-1], spec, store, "csv x").digest != first.digest


def test_a_changed_file_has_another_digest(store: Store) -> None:
    snapshot = freeze(mixed_frame(), make_spec(**NO_TIME), store, "csv x")
    rows = store.read_frame(f"{snapshot.key}/data.parquet")
    rows.loc[3, "amount"] = 0.5
    store.write_frame(f"{snapshot.key}/data.parquet", rows)
    assert recompute_digest(store, snapshot) != snapshot.digest


def test_an_interrupted_snapshot_is_written_again(store: Store) -> None:
    spec = make_spec(**NO_TIME)
    snapshot = freeze(mixed_frame(), spec, store, "csv x")
    Path(store.uri(f"{snapshot.key}/snapshot.json")).unlink()
    Path(store.uri(f"{snapshot.key}/data.parquet")).write_bytes(b"half")
    assert freeze(mixed_frame(), spec, store, "csv x") == snapshot
    assert recompute_digest(store, snapshot) == snapshot.digest


def test_what_is_dropped_is_kept_but_hidden(store: Store) -> None:
    snapshot = freeze(mixed_frame(), make_spec(drop=("seen", "amount")), store, "csv x")
    assert [column.name for column in snapshot.columns] == ["count", "color", "member"]
    assert "amount" in read_rows(store, snapshot).train
    chosen = freeze(mixed_frame(), make_spec(features=("color", "count")), store, "csv x")
    assert [column.name for column in chosen.columns] == ["color", "count"]


def test_rows_of_one_time_stay_on_one_side(store: Store) -> None:
    frame = mixed_frame().assign(seen=lambda rows: rows["seen"].dt.floor("D"))
    rows = read_rows(store, freeze(frame, make_spec(event_time="seen"), store, "csv x"))
    assert not set(rows.train["seen"]) & set(rows.holdout["seen"])


def test_times_may_be_text(store: Store) -> None:
    frame = mixed_frame().assign(seen=lambda rows: rows["seen"].astype(str))
    snapshot = freeze(frame, make_spec(event_time="seen"), store, "csv x")
    assert snapshot.last_time == "2026-01-17T15:00:00+00:00"


def test_features_are_in_order_and_typed(store: Store) -> None:
    snapshot = freeze(mixed_frame(), make_spec(**NO_TIME), store, "csv x")
    asked = pd.DataFrame(
        {
            "member": [True, False],
            "color": pd.Series([None, "red"], dtype=object),
            "count": [1.0, 2.0],
            "amount": [None, "1.5"],
            "extra": [0, 0],
        }
    )
    found = features(asked, snapshot)
    assert {name: str(kind) for name, kind in found.dtypes.items()} == {
        "amount": "float64",
        "count": "int64",
        "color": "str",
        "member": "bool",
    }
    assert found["color"].isna().tolist() == [True, False]
    with pytest.raises(DataError, match="the model needs amount; the rows have no such column"):
        features(asked.drop(columns="amount"), snapshot)


def test_whole_numbers_of_a_csv_with_points_are_classes(store: Store) -> None:
    frame = mixed_frame(400)
    frame["y"] = np.tile([0.0, 1.0], 200)
    snapshot = freeze(frame, make_spec(drop=("seen",)), store, "x")
    assert (snapshot.classes, snapshot.class_counts) == ((0, 1), {"0": 200, "1": 200})


def changed(**columns: Any) -> pd.DataFrame:
    return mixed_frame().assign(**columns)


FAULTS: list[tuple[pd.DataFrame, dict[str, Any], str]] = [
    (mixed_frame(0), {}, "data.source gave no rows"),
    (mixed_frame().rename(columns={"y": "yy"}), {}, "data.target names 'y'.* there are: amount,"),
    (mixed_frame(), {"segments": ("colour",)}, "data.segments names 'colour'.*mean 'color'"),
    (mixed_frame(), {"features": ("amont",)}, "data.features names 'amont'.*mean 'amount'"),
    (mixed_frame(), {"drop": ("sen",)}, "data.drop names 'sen'.*mean 'seen'"),
    (mixed_frame(), {"event_time": "when"}, "data.event_time names 'when'"),
    (mixed_frame(), {}, "'seen' holds times.*data.event_time or in data.drop"),
    (changed(y=None), NO_TIME, "target 'y' has no value in any of 400 rows"),
    (changed(y=["yes", None] * 200), NO_TIME, "target 'y' has 200 nulls in 400 rows"),
    (changed(y="yes"), NO_TIME, "target 'y' has one class only in 400 rows"),
    (
        changed(y=["a", "b", "c", "d"] * 100),
        NO_TIME,
        "has 4 classes; binary_classification needs 2",
    ),
    (changed(y=[0.5, 1.5] * 200), NO_TIME, "holds double; .* needs text, integers or booleans"),
    (mixed_frame(), {**NO_TIME, "task": "regression"}, "holds string; regression needs numbers"),
    (
        changed(y=["rare", *["no", "yes"] * 199, "no"]),
        {**NO_TIME, "task": "multiclass_classification"},
        "fewer than 2 rows of 1 of 3 classes of 'y'",
    ),
    (mixed_frame(), {**NO_TIME, "positive": "maybe"}, "data.positive is 'maybe'; the classes are"),
    (changed(label=1), NO_TIME, "column 'label' has a name that the prediction log uses"),
    (changed(gone=None), NO_TIME, "column 'gone' is null in all 400 rows; name it in data.drop"),
    (changed(far=[1.0, np.inf] * 200), NO_TIME, "column 'far' has 200 infinite values"),
    (changed(odd=[1, "x"] * 200), NO_TIME, "column 'odd': mixes or holds int, str"),
    (changed(odd=[[1]] * 400), NO_TIME, "column 'odd': mixes or holds list"),
    (
        changed(seen=["2026-01-01", "soon"] * 200),
        {"event_time": "seen"},
        "column 'seen': 200 of 400 values are no times",
    ),
    (changed(seen=1), {"event_time": "seen"}, "column 'seen': holds int64; times were expected"),
    (
        changed(seen=[pd.Timestamp("2026-01-01"), None] * 200),
        {"event_time": "seen"},
        "is data.event_time and has 200 nulls",
    ),
    (
        changed(seen=pd.Timestamp("2026-01-01")),
        {"event_time": "seen"},
        "the holdout has 0 of 400 rows; bring more rows, or change data.split.holdout",
    ),
    (mixed_frame()[["y"]], {}, "no column is left for the model"),
    (
        pd.concat([mixed_frame(), mixed_frame()[["count"]]], axis=1),
        NO_TIME,
        "have column count more than once",
    ),
]


@pytest.mark.parametrize(("frame", "data", "message"), FAULTS)
def test_each_fault_is_one_line(
    store: Store, frame: pd.DataFrame, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        freeze(frame, make_spec(**data), store, "csv x")
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(store.keys("snapshots")) == []


def test_an_unwritable_store_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        freeze(mixed_frame(), make_spec(**NO_TIME), Store(str(tmp_path / "file")), "csv x")


def test_an_unknown_snapshot_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="demo: there is no snapshot 0123"):
        load_snapshot(store, "demo", "0123")


rows_of_anything = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
        st.one_of(st.none(), st.text(max_size=5)),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def as_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    number, text, flag = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "number": pd.Series(number, dtype="float64"),
            "text": pd.Series(text, dtype="str"),
            "flag": pd.Series(flag, dtype=bool),
        }
    )


@settings(max_examples=100, deadline=None)
@given(rows_of_anything, rows_of_anything, st.integers(0, 5))
def test_a_row_keeps_its_side_whatever_comes_with_it(
    some: list[tuple[Any, ...]], more: list[tuple[Any, ...]], seed: int
) -> None:
    alone, together = as_frame(some), as_frame([*more, *some])
    assert row_hashes(together, seed)[len(more) :].tolist() == row_hashes(alone, seed).tolist()
    shuffled = alone[["flag", "number", "text"]]
    assert row_hashes(shuffled, seed).tolist() == row_hashes(alone, seed).tolist()


@settings(max_examples=100, deadline=None)
@given(rows_of_anything, rows_of_anything)
def test_equal_rows_have_equal_digests_and_no_others(
    some: list[tuple[Any, ...]], other: list[tuple[Any, ...]]
) -> None:
    same = [(None if a is None else a + 0.0, b, c) for a, b, c in some]
    assert content_digest(as_frame(some), {}) == content_digest(as_frame(same), {})
    equal = same == [(None if a is None else a + 0.0, b, c) for a, b, c in other]
    assert (content_digest(as_frame(some), {}) == content_digest(as_frame(other), {})) == equal
    assert content_digest(as_frame(some), {"x": 1}) != content_digest(as_frame(some), {})


def test_whole_numbers_keep_their_side_when_a_null_joins_them() -> None:
    whole = pd.DataFrame({"a": [1, 2, 3]})
    joined = pd.DataFrame({"a": [1, 2, 3, None]})
    assert row_hashes(joined, 0)[:3].tolist() == row_hashes(whole, 0).tolist()


def test_about_the_declared_share_is_held_out() -> None:
    share = row_hashes(pd.DataFrame({"a": range(10_000)}), 0) / 2.0**64
    # A binomial share of 10,000 rows is within 0.016 of 0.2 in all but one of 15,000 cases.
    assert abs((share < 0.2).mean() - 0.2) < 0.016
