from __future__ import annotations

from typing import Any

from mlops_pipelines.explain.text import lineage_text

FOUND: dict[str, Any] = {
    "model": "churn",
    "version": 2,
    "created": "2026-03-01T02:00:00+00:00",
    "aliases": ["champion"],
    "parent_version": 1,
    "data": {
        "snapshot": "0123456789abcdef0123456789abcdef",
        "source": "csv churn.csv",
        "rows": 100,
        "train_rows": 80,
        "holdout_rows": 20,
        "features": ["age", "site"],
        "first_time": None,
        "last_time": None,
        "uri": "/store/snapshots/churn/01",
    },
    "code": {"git_commit": "fedcba9876543210", "git_dirty": "abc"},
    "environment": {"lock_hash": "00112233445566778899", "python": "3.11.7"},
    "runs": {"mlflow": "m1", "dagster": "d1"},
    "params": {"b": "2", "a": "1"},
    "metrics": {"roc_auc": 0.98761, "train_roc_auc": 1.0, "cv_roc_auc_mean": 0.9},
    "gates": "passed",
    "bundle": "99887766554433221100",
    "quarantined": "",
    "deployments": [
        {
            "version": 2,
            "at": "2026-03-01T02:01:00+00:00",
            "action": "release",
            "actor": "dagster run 12345678",
            "reason": "passed its gates",
            "run_id": "r",
        }
    ],
}


def test_everything_behind_a_version_is_a_line_each() -> None:
    assert lineage_text(FOUND).splitlines() == [
        "churn version 2 (champion), registered 2026-03-01T02:00:00+00:00",
        "  parent       version 1",
        "  data         snapshot 0123456789abcdef, 100 rows (80 train, 20 holdout), 2 features, "
        "from csv churn.csv",
        "  code         fedcba987654, with uncommitted changes abc",
        "  environment  lock 0011223344556677, Python 3.11.7",
        "  runs         MLflow m1, Dagster d1",
        "  parameters   a=1, b=2",
        "  metrics      roc_auc 0.9876",
        "  gates        passed",
        "  bundle       9988776655443322",
        "  release      2026-03-01T02:01:00+00:00 by dagster run 12345678: passed its gates",
    ]


def test_a_first_version_that_never_left() -> None:
    found = {
        **FOUND,
        "aliases": [],
        "parent_version": None,
        "code": {"git_commit": "fedcba9876543210", "git_dirty": ""},
        "bundle": "",
        "deployments": [],
        "quarantined": "worse than version 1",
        "proofs": [
            {"thing": "snapshot", "recorded": "01", "found": "01", "holds": True},
            {"thing": "bundle", "recorded": "02", "found": "03", "holds": False},
        ],
    }

    lines = lineage_text(found).splitlines()

    assert lines[0] == "churn version 2, registered 2026-03-01T02:00:00+00:00"
    assert lines[1] == "  parent       none: the first to be trained"
    assert lines[3] == "  code         fedcba987654"
    assert lines[9:] == [
        "  bundle       none",
        "  quarantined  worse than version 1",
        "  proof        snapshot 01: holds",
        "  proof        bundle 02: found 03",
    ]
