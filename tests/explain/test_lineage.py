from __future__ import annotations

from datetime import UTC, datetime

from mlops_pipelines import record
from mlops_pipelines.explain.lineage import Deployed, Proof, history
from mlops_pipelines.train.registry import Version


def version(number: int, tags: dict[str, str], aliases: tuple[str, ...] = ()) -> Version:
    return Version(
        model="churn",
        version=number,
        run_id=f"run-{number}",
        created=datetime(2026, 3, number, tzinfo=UTC),
        tags=tags,
        metrics={"roc_auc": 0.9},
        params={},
        aliases=aliases,
    )


def deployed(number: int, day: int, action: str = "release") -> Deployed:
    return Deployed(number, f"2026-03-{day:02}", action, "me", "why", "run")


def test_a_proof_holds_where_the_thing_is_as_recorded() -> None:
    assert Proof("bundle", "01", "01").holds
    assert not Proof("bundle", "01", "02").holds


def test_history_is_a_row_per_version_with_its_first_deployment() -> None:
    rows = history(
        [
            version(2, {record.GATES: "passed", record.QUARANTINED: "worse than version 1"}),
            version(3, {}),
            version(1, {record.GATES: "passed"}, ("champion",)),
        ],
        [deployed(1, 1), deployed(2, 2), deployed(1, 3, "rollback")],
    )

    metrics = {"roc_auc": 0.9}
    assert rows == [
        {
            "version": 1,
            "metrics": metrics,
            "gates": "passed",
            "deployed": "2026-03-01",
            "rolled_back": "",
            "aliases": ["champion"],
        },
        {
            "version": 2,
            "metrics": metrics,
            "gates": "passed",
            "deployed": "2026-03-02",
            "rolled_back": "worse than version 1",
            "aliases": [],
        },
        {
            "version": 3,
            "metrics": metrics,
            "gates": "not evaluated",
            "deployed": "",
            "rolled_back": "",
            "aliases": [],
        },
    ]
