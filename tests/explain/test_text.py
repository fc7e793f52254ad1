"""How a record is told to people."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.proof import Proof
from mlops_pipelines.explain.record_schema import Moved
from mlops_pipelines.explain.text import commit, lineage_text, moved, unknown


@pytest.mark.parametrize(
    ("what", "other", "told"),
    [
        ("deployed", None, "deployed by ann: why"),
        ("deployed", 1, "deployed in place of version 1 by ann: why"),
        ("replaced", 2, "replaced by version 2 by ann: why"),
        ("rolled back to", 2, "rolled back to this one from version 2 by ann: why"),
        ("rolled back from", 1, "rolled back from this one to version 1 by ann: why"),
        ("unchanged", None, "deployed again, as it was by ann: why"),
    ],
)
def test_moves_in_words(what: Any, other: int | None, told: str) -> None:
    move = Moved(at="2026", what=what, other=other, actor="ann", reason="why", run="r")
    assert moved(move) == told


def test_a_sentence_in_place_of_a_commit_stays_whole() -> None:
    assert commit("fedcba9876543210") == "fedcba987654"
    assert commit("not a git repository") == "not a git repository"


def test_everything_behind_a_version_is_a_line_each(shop: Any) -> None:
    found = lineage(shop.sources, "shop", 2, "roc_auc")
    lines = lineage_text(found).splitlines()
    assert lines[0] == f"shop version 2 (previous), registered {found.created}"
    names = [line[2:14].strip() for line in lines[1:]]
    assert [name for name in dict.fromkeys(names) if name] == [
        *("parent", "data", "expected", "code", "environment", "runs", "parameters", "seeds"),
        *("metrics", "gates", "bundle", "image", "moved", "quarantined", "not known"),
    ]
    for line in (
        "  parent       version 1",
        "                 parameters: C 1.0 → 0.05",
        "                 passed  meets_thresholds: it does",
        "  image        sha256:0000000000000000",
        "  quarantined  complaints",
    ):
        assert line in lines


def test_of_a_first_version_the_worst_night_is_told(shop: Any) -> None:
    lines = lineage_text(lineage(shop.sources, "shop", 1, "roc_auc")).splitlines()
    assert lines[1] == "  parent       none: no version served when it was trained"
    assert (
        "  nights       3 nights, 2026-03-01 to 2026-03-03; worst 2026-03-02: roc_auc 0.6, 0.82 on "
        "the holdout; most drift 2026-03-03: 2 columns; alarms: 1 performance"
    ) in lines


def test_what_is_missing_is_told_once_for_each_reason(shop: Any) -> None:
    told = unknown(lineage(shop.sources, "shop", 1, "roc_auc"))
    assert told["it was not yet written down when this version was evaluated"] == [
        *("comparison", "slices", "metrics: intervals")
    ]


def test_proofs_are_at_the_end(shop: Any) -> None:
    proofs = [Proof("snapshot", "01", "01"), Proof("bundle", "02", "03")]
    found = lineage(shop.sources, "shop", 1, "roc_auc").with_proofs(proofs)
    assert lineage_text(found).splitlines()[-2:] == [
        "  proof        snapshot 01: holds",
        "  proof        bundle 02: found 03",
    ]
