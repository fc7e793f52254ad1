"""Two versions side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.explain import changes
from mlops_pipelines.explain.changes import Changed
from mlops_pipelines.explain.diff import Diff, diff
from mlops_pipelines.explain.diff_text import _same_rows, diff_text
from mlops_pipelines.explain.same_rows import SameRows
from mlops_pipelines.explain.sources import Sources, read_behind
from mlops_pipelines.store import Store


@pytest.fixture(scope="module")
def forth(shop: Any) -> Diff:
    return diff(shop.sources, shop.registry, shop.root, shop.spec, 1, 2)


@pytest.fixture(scope="module")
def back(shop: Any) -> Diff:
    return diff(shop.sources, shop.registry, shop.root, shop.spec, 2, 1)


def test_parameters(forth: Diff) -> None:
    assert forth.parameters == [Changed("C", "1.0", "0.05")]


def test_data_and_how_far_its_columns_moved(forth: Diff) -> None:
    data = {each.name: (each.before, each.after) for each in forth.data}
    assert data["rows"] == (400, 600)
    assert set(data) == {"snapshot", "rows", "train_rows", "holdout_rows", "last_time"}
    assert forth.columns == []
    assert [each.column for each in forth.drift or ()] == ["price"]
    assert (forth.drift or [])[0].distance > 0.1


def test_commits_and_the_files_between_them(forth: Diff) -> None:
    assert forth.commits is not None
    assert forth.commits.after.startswith(forth.commits.after[:40])
    assert "with uncommitted changes" in forth.commits.after
    assert forth.files is not None
    assert forth.files[0].startswith("assets/shop/defs.yaml | ")
    assert forth.files[-1].startswith("1 file changed")


def test_environment_and_packages(forth: Diff) -> None:
    assert [each.name for each in forth.environment] == ["lock_hash"]
    assert forth.packages_of == "in the lock files of the bundles"
    assert forth.packages == [Changed("numpy", "2.4.6", "2.4.7")]


def test_metrics_with_the_intervals_that_are_known(forth: Diff) -> None:
    auc = next(each for each in forth.metrics if each.name == "roc_auc")
    assert auc.before_interval is None
    assert auc.after_interval is not None
    assert auc.after_interval[0] < auc.after <= auc.after_interval[1]


def test_both_answer_the_newers_holdout(forth: Diff, back: Diff) -> None:
    one, other = forth.predictions, back.predictions
    assert one is not None
    assert other is not None
    assert (one.holdout_of, one.rows, one.metric) == (2, 120, "roc_auc")
    assert 0 <= one.differing <= one.rows
    assert one.share == one.differing / one.rows
    assert 0 < one.score_difference_mean <= one.score_difference_max <= 1
    # The other way round the same rows are compared, and the improvement turns its sign.
    assert (other.holdout_of, other.differing) == (2, one.differing)
    assert other.score_difference_max == one.score_difference_max
    assert other.improvement == -one.improvement
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert one.low <= one.improvement <= one.high


def test_the_intervals_are_those_of_the_release(shop: Any, forth: Diff) -> None:
    """Version 2 was compared with version 1 when it was released, on the same rows."""
    kept = json.loads(shop.registry.fetch("shop", 2, "evaluation.json").read_text())
    (then,) = kept["differences"]
    now = forth.predictions
    assert (now.improvement, now.low, now.high) == (then["improvement"], then["low"], then["high"])


def test_a_version_beside_itself_has_no_difference(shop: Any) -> None:
    found = diff(shop.sources, shop.registry, shop.root, shop.spec, 2, 2)
    assert (found.parameters, found.data, found.columns, found.drift) == ([], [], [], [])
    assert (found.commits, found.files, found.environment, found.packages) == (None, (), [], [])
    assert found.predictions is not None
    assert (found.predictions.differing, found.predictions.improvement) == (0, 0)


def test_what_cannot_be_compared_is_said(shop: Any, tmp_path: Path) -> None:
    sources = Sources(shop.sources.books, shop.sources.events, Store(str(tmp_path / "store")))
    found = diff(sources, shop.registry, tmp_path, shop.spec, 1, 2)
    assert (found.drift, found.files, found.packages, found.predictions) == (None,) * 4
    assert set(found.missing) == {"drift", "files", "packages", "predictions"}
    assert found.missing["files"] == "one of the commits is not in this repository"
    assert "there is no snapshot" in found.missing["predictions"]
    assert len(found.parameters) == 1


def test_a_version_that_is_not_there(shop: Any) -> None:
    with pytest.raises(NotFoundError, match="shop has no version 7"):
        diff(shop.sources, shop.registry, shop.root, shop.spec, 1, 7)


def test_columns_that_come_go_and_change(shop: Any) -> None:
    entry = shop.sources.books.version("shop", 1)
    old = read_behind(shop.sources, entry)
    column = {"name": "price", "type": "string", "nullable": True}
    new = changes.Behind(entry, {**old.snapshot, "columns": [column, {**column, "name": "age"}]})
    assert changes.columns(old, new) == [
        Changed("age", None, "string or null"),
        Changed("price", "double", "string or null"),
        Changed("visits", "double", None),
    ]


def test_in_words(forth: Diff, back: Diff) -> None:
    lines = diff_text(forth).splitlines()
    assert lines[0] == "shop: version 1 → version 2"
    assert lines[1] == "  parameters   C: 1.0 → 0.05"
    assert "               numpy: 2.4.6 → 2.4.7" in lines
    assert any("holdout rows of version 2" in line for line in lines)
    assert any(
        "better than version 2" in line or "worse than version 2" in line
        for line in diff_text(back).splitlines()
    )


def test_programs_get_json(forth: Diff) -> None:
    said = json.loads(json.dumps(forth.as_dict(), allow_nan=False))
    assert (said["schema"], said["before"], said["after"]) == (1, 1, 2)
    assert said["parameters"] == [{"name": "C", "before": "1.0", "after": "0.05"}]
    assert said["predictions"]["share"] == forth.predictions.share


def test_versions_that_answer_alike_are_not_told_to_be_better() -> None:
    same = SameRows(2, 90, 0, 0.0, 0.0, "r2", 0.5, 0.5, 0.0, 0.0, 0.0)
    assert _same_rows(same, 1, 2)[-1] == "r2 0.5 of both, in every resample"
    close = _same_rows(replace(same, high=0.25), 1, 2)[-1]
    assert close.startswith("r2 0.5 → 0.5: version 2 is 0 better than version 1 (95 % interval")
