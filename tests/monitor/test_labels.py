"""Labels find their predictions, early or late, corrected or not, and only once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import DataError
from mlops_pipelines.monitor.labels import Collected, Coverage, collect, coverage, labelled_rows
from mlops_pipelines.monitor.predictions import compact

DAY, NEXT = "2026-03-01", "2026-03-02"


def row(name: str, day: str = DAY) -> list[Any]:
    at = f"{day}T12:00:00.000001Z"
    return [name, f"r{name}", 0, at, at, 1, 0.75, None, 1.25, [1.5]]


def label(name: str, truth: Any, second: int = 0) -> list[Any]:
    return [name, truth, None, f"2026-03-05T12:00:{second:02}.000000Z"]


def gather(logs: Any, spec: Any) -> Collected:
    return collect(logs.store, logs.log_dir, spec, logs.root, logs.root)


def known(logs: Any, day: str) -> dict[str, Any]:
    frame = labelled_rows(logs.store, "churn", day)
    return dict(zip(frame["prediction_id"], frame["label"], strict=True))


def test_feedback_finds_its_day(logs: Any, make_spec: Any) -> None:
    logs.write([row("a"), row("b"), row("c", NEXT)])
    logs.write([label("c", 0), label("a", 1)], kind="labels")
    compact(logs.store, logs.log_dir, "churn")
    assert gather(logs, make_spec()) == Collected(new=2, changed=0, unknown=0, corrupt=0)
    assert (known(logs, DAY), known(logs, NEXT)) == ({"a": 1}, {"c": 0})
    assert coverage(logs.store, "churn", DAY) == Coverage(rows=2, labelled=1)
    assert list(logs.log_dir.glob("*.ndjson")) == []
    frame = labelled_rows(logs.store, "churn", DAY)
    assert list(frame.columns[-3:]) == ["x", "label", "labelled_at"]


def test_nothing_is_no_labels(logs: Any, make_spec: Any) -> None:
    assert gather(logs, make_spec()) == Collected(0, 0, 0, 0)
    assert coverage(logs.store, "churn", DAY) == Coverage(0, 0)
    assert len(labelled_rows(logs.store, "churn", DAY)) == 0


def test_a_label_waits_for_its_prediction(logs: Any, make_spec: Any) -> None:
    logs.write([label("a", 1), label("never", 0)], kind="labels")
    assert gather(logs, make_spec()) == Collected(0, 0, 2, 0)
    logs.write([row("a")])
    compact(logs.store, logs.log_dir, "churn")
    assert gather(logs, make_spec()) == Collected(1, 0, 1, 0)
    assert known(logs, DAY) == {"a": 1}


def test_the_last_label_counts_whatever_arrives_first(logs: Any, make_spec: Any) -> None:
    logs.write([row("a"), row("b")])
    compact(logs.store, logs.log_dir, "churn")
    logs.write([label("a", 1, second=9), label("b", 0)], kind="labels")
    assert gather(logs, make_spec()) == Collected(2, 0, 0, 0)
    logs.write([label("a", 0, second=5), label("b", 1, second=1)], kind="labels")
    assert gather(logs, make_spec()) == Collected(0, 1, 0, 0)
    assert known(logs, DAY) == {"a": 1, "b": 1}


def test_a_label_sent_again_counts_once(logs: Any, make_spec: Any) -> None:
    logs.write([row("a"), row("b")])
    compact(logs.store, logs.log_dir, "churn")
    logs.write([label("a", 1), label("a", 1)], kind="labels")
    assert gather(logs, make_spec()) == Collected(1, 0, 0, 0)
    logs.write([label("a", 1, second=3)], kind="labels")
    assert gather(logs, make_spec()) == Collected(0, 0, 0, 0)
    assert coverage(logs.store, "churn", DAY) == Coverage(rows=2, labelled=1)


def test_again_changes_no_byte(logs: Any, make_spec: Any) -> None:
    logs.write([row("a")])
    compact(logs.store, logs.log_dir, "churn")
    path = logs.write([label("a", 1), label("x", 1)], kind="labels", pid=os.getpid())
    gather(logs, make_spec())
    before = logs.files()
    assert gather(logs, make_spec()) == Collected(0, 0, 1, 0)
    assert logs.files() == before
    assert path.exists()


def test_corrupt_lines_are_counted_and_set_aside(logs: Any, make_spec: Any) -> None:
    logs.write([row("a")])
    compact(logs.store, logs.log_dir, "churn")
    path = logs.write([label("a", 1), [1, 2, 3, 4], b"{"], kind="labels")
    assert gather(logs, make_spec()) == Collected(1, 0, 0, 2)
    assert [p for p in logs.log_dir.iterdir() if p.is_file()] == [path.with_suffix(".corrupt")]


def write_csv(root: Path, text: str) -> dict[str, Any]:
    (root / "labels.csv").write_text(text)
    return {"labels": {"csv": "labels.csv"}}


def test_labels_from_a_source(logs: Any, make_spec: Any) -> None:
    logs.write([row("1"), row("2"), row("3", NEXT)])
    compact(logs.store, logs.log_dir, "churn")
    told = write_csv(
        logs.root, "prediction_id,label,labelled_at\n1,0,2026-03-04\n3,1,\n9,1,\n2,,\n"
    )
    spec = make_spec(monitor=told)
    assert gather(logs, spec) == Collected(2, 0, 1, 0)
    assert (known(logs, DAY), known(logs, NEXT)) == ({"1": 0}, {"3": 1})
    before = logs.files()
    assert gather(logs, spec) == Collected(0, 0, 1, 0)
    assert logs.files() == before
    write_csv(logs.root, "prediction_id,label,labelled_at\n1,1,2026-03-04\n3,1,\n2,1,\n")
    assert gather(logs, spec) == Collected(1, 1, 1, 0)
    assert known(logs, DAY) == {"1": 1, "2": 1}


def test_a_source_without_the_columns_says_so(logs: Any, make_spec: Any) -> None:
    spec = make_spec(monitor=write_csv(logs.root, "id,label\n1,0\n"))
    with pytest.raises(
        DataError, match=r"monitor\.labels: .*labels\.csv.* no column prediction_id"
    ):
        gather(logs, spec)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("row"), st.sampled_from("abcdef"), st.sampled_from([DAY, NEXT])),
            st.tuples(st.just("label"), st.sampled_from("abcdef"), st.integers(0, 1)),
            st.tuples(st.just("run"), st.just(""), st.just("")),
        ),
        max_size=14,
    )
)
def test_any_order_of_rows_labels_and_runs(new_logs: Any, make_spec: Any, events: Any) -> None:
    with new_logs() as logs:
        days: dict[str, str] = {}
        truths: dict[str, int] = {}
        spec = make_spec()
        for second, (kind, name, what) in enumerate([*events, ("run", "", "")]):
            if kind == "row" and name not in days:
                days[name] = what
                logs.write([row(name, what)])
            elif kind == "label":
                truths[name] = what
                logs.write([label(name, what, second)], kind="labels")
            elif kind == "run":
                compact(logs.store, logs.log_dir, "churn")
                found = gather(logs, spec)
                assert found.unknown == len(set(truths) - set(days))
        for day in (DAY, NEXT):
            joined = {name: truths[name] for name in truths if days.get(name) == day}
            assert known(logs, day) == joined
