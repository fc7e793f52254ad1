"""Labels over several nights: late ones re-open their day, changed ones count once."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_pipelines.monitor.coverage import day_coverage
from mlops_pipelines.monitor.labels import collect, coverage, labelled_rows
from mlops_pipelines.monitor.performance import assess
from mlops_pipelines.monitor.predictions import compact, day_rows

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
ROWS = 60


def row(day: str, place: int) -> list[Any]:
    at = f"{day}T12:00:{place:02}.000001Z"
    share = 0.9 if place % 2 else 0.1
    return [f"{day}-{place}", f"r{place}", 0, at, at, place % 2, share, None, 1.0, [float(place)]]


def label(day: str, place: int, truth: int, night: int) -> list[Any]:
    return [f"{day}-{place}", truth, None, f"2026-03-{10 + night:02}T12:00:00.{place:06}Z"]


def test_three_nights(logs: Any, make_spec: Any) -> None:
    spec = make_spec(react={"rollback": {"metric": "accuracy"}})

    def night(labels: list[Any]) -> Any:
        if labels:
            logs.write(labels, kind="labels")
        compact(logs.store, logs.log_dir, "churn")
        return collect(logs.store, logs.log_dir, spec, logs.root, logs.root)

    def judge(day: str) -> Any:
        rows, labelled = (
            day_rows(logs.store, "churn", day),
            labelled_rows(logs.store, "churn", day),
        )
        # However often a day is opened: each row once, each with one label at most.
        assert rows["prediction_id"].is_unique and labelled["prediction_id"].is_unique
        assert len(rows) == ROWS
        covered = day_coverage(spec, rows, labelled, 1)
        assert covered.own.labelled == coverage(logs.store, "churn", day).labelled
        found = assess(spec, labelled, 1, {"accuracy": 0.95}, coverage=covered)
        assert found.worst["prediction_id"].is_unique
        return found

    first, second, third = DAYS
    logs.write([row(first, i) for i in range(ROWS)])
    assert night([label(first, i, i % 2, 0) for i in range(31)]).new == 31
    early = judge(first)
    assert (early.status, early.labelled, early.value) == ("ok", 31, 1.0)
    assert early.provisional and "provisional: coverage 52% of 60 rows" in early.sentence

    # The second night brings rows of two days, late labels of the first, one of them changed.
    logs.write([row(day, i) for day in (second, third) for i in range(ROWS)])
    late = [label(first, i, 1 - i % 2, 1) for i in range(31, 56)]
    again = [label(first, i, i % 2, 1) for i in range(5)]
    collected = night([*late, *again, label(first, 7, 0, 1), label(second, 0, 0, 1)])
    assert (collected.new, collected.changed) == (26, 1)
    reopened = judge(first)
    assert (reopened.status, reopened.labelled) == ("alarm", 56)
    assert reopened.value == pytest.approx(30 / 56)
    assert not reopened.provisional and "provisional" not in reopened.sentence
    assert judge(second).status == "insufficient_data"

    # The third brings nothing for the first day: not a byte of it changes.
    before = {key: data for key, data in logs.files().items() if first in key}
    assert night([label(second, i, i % 2, 2) for i in range(ROWS)]).new == ROWS - 1
    assert {key: data for key, data in logs.files().items() if first in key} == before
    assert (judge(second).status, judge(first).value) == ("ok", reopened.value)
    assert judge(third).labelled == 0
