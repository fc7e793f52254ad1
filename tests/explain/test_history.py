"""A line per version."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from mlops_pipelines import record
from mlops_pipelines.explain.books import Entry, Night
from mlops_pipelines.explain.event_log import Deployed
from mlops_pipelines.explain.history import history, history_text


def version(number: int, tags: dict[str, str], aliases: tuple[str, ...] = ()) -> Entry:
    return Entry(
        model="churn",
        version=number,
        run_id=f"run-{number}",
        created=datetime(2026, 3, number, tzinfo=UTC),
        tags={record.DAGSTER_RUN: "0123456789", **tags},
        metrics={"roc_auc": 0.9, "train_roc_auc": 1.0},
        params={},
        aliases=aliases,
        artifacts="",
    )


def deployed(number: int, day: int, action: str = "deploy") -> Deployed:
    return Deployed(number, f"2026-03-{day:02}T00:00:00+00:00", action, "ann", "why", "run")


def night(day: int, number: int, value: float | None) -> Night:
    metrics = {} if value is None else {"roc_auc": value}
    return Night(f"2026-03-{day:02}", number, "run", metrics, {})


ENTRIES = [
    version(1, {record.GATES: "passed"}, ("champion",)),
    version(2, {record.GATES: "passed", record.QUARANTINED: "worse than version 1"}),
    version(3, {}),
]
DEPLOYED = [deployed(1, 1), deployed(2, 2), deployed(1, 3, "rollback")]
NIGHTS = [night(1, 1, 0.8), night(2, 1, 0.7), night(3, 1, None), night(4, 2, None)]


def test_who_deployed_each_version_and_what_became_of_it() -> None:
    first, second, third = history(ENTRIES, DEPLOYED, NIGHTS, "roc_auc")

    assert (first.by, first.deployed, first.rolled_back) == ("ann", "2026-03-01T00:00:00+00:00", "")
    assert [(each.what, each.other) for each in first.moves] == [
        ("deployed", None),
        ("replaced", 2),
        ("rolled back to", 2),
    ]
    assert (first.nights, first.worst, first.worst_day) == (3, 0.7, "2026-03-02")
    assert first.metrics == {"roc_auc": 0.9}
    assert [(each.what, each.other) for each in second.moves] == [
        ("deployed", 1),
        ("rolled back from", 1),
    ]
    assert (second.rolled_back, second.nights, second.worst) == ("worse than version 1", 1, None)
    assert (third.by, third.deployed, third.gates, third.moves) == (
        "dagster run 01234567",
        "",
        "not evaluated",
        (),
    )


def test_a_rollback_without_quarantine_gives_its_own_reason() -> None:
    lines = history([version(1, {}), version(2, {})], DEPLOYED, [], "roc_auc")
    assert [line.rolled_back for line in lines] == ["", "why"]


def test_a_version_that_was_deployed_twice_in_a_row() -> None:
    moved = [deployed(1, 1), deployed(1, 2), deployed(2, 3), deployed(1, 4), deployed(2, 5)]
    (line, _) = history([version(1, {}), version(2, {})], moved, [], "roc_auc")
    assert [(each.what, each.other) for each in line.moves] == [
        ("deployed", None),
        ("deployed", None),
        ("replaced", 2),
        ("deployed", 2),
        ("replaced", 2),
    ]


def test_a_line_each_for_people() -> None:
    assert history_text(history(ENTRIES, DEPLOYED, NIGHTS, "roc_auc"), "roc_auc").splitlines() == [
        "version     registered        roc_auc  gates          deployed          by               "
        "     nights  worst roc_auc",
        "1 champion  2026-03-01 00:00  0.9      passed         2026-03-01 00:00  ann              "
        "     3       0.7 on 2026-03-02",
        "2           2026-03-02 00:00  0.9      passed         2026-03-02 00:00  ann              "
        "     1",
        "    rolled back: worse than version 1",
        "3           2026-03-03 00:00  0.9      not evaluated  never             "
        "dagster run 01234567  0",
    ]


def test_programs_get_json() -> None:
    (line, *_) = history(ENTRIES, DEPLOYED, NIGHTS, "roc_auc")
    said: dict[str, Any] = json.loads(json.dumps(line.as_dict()))
    assert said["moves"][0] == {
        "at": "2026-03-01T00:00:00+00:00",
        "what": "deployed",
        "other": None,
        "actor": "ann",
        "reason": "why",
        "run": "run",
    }
    assert (said["version"], said["aliases"], said["worst"]) == (1, ["champion"], 0.7)
