"""The record of a version, from real books."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mlops_pipelines.errors import MlopsError, NotFoundError, TrackingError
from mlops_pipelines.explain.books import Books, Night, newest, open_books
from mlops_pipelines.explain.event_log import Deployed, EventLog
from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.moves import moves
from mlops_pipelines.explain.nights import SMALLER_IS_BETTER, worst
from mlops_pipelines.explain.record_schema import Record, json_schema
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.store import Store

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "record.schema.json"


@pytest.fixture(scope="module")
def first(shop: Any) -> Record:
    return lineage(shop.sources, "shop", 1, "roc_auc")


@pytest.fixture(scope="module")
def second(shop: Any) -> Record:
    return lineage(shop.sources, "shop", 2, "roc_auc")


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(PUBLISHED.read_text("utf-8")) == json_schema(), (
        "run: python docs/record_schema.py"
    )


def test_records_are_as_the_published_schema_says(first: Record, second: Record) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text("utf-8")))
    for record in (first, second):
        said = json.loads(json.dumps(record.model_dump(mode="json")))
        assert said["schema"] == 1
        assert [*validator.iter_errors(said)] == []
        assert Record.model_validate(said) == record
    del said["gates"]
    assert [*validator.iter_errors(said)] != []


def test_data_code_and_environment(second: Record, shop: Any) -> None:
    data = second.data
    assert data is not None
    assert (data.rows, data.train_rows + data.holdout_rows) == (600, 600)
    assert [(each.name, each.type) for each in data.columns] == [
        ("price", "double"),
        ("visits", "double"),
    ]
    assert (data.source, data.target, data.event_time) == ("csv rows.csv", "bought", "seen_at")
    assert data.first_time is not None
    assert data.first_time.startswith("2026-01-01T00:00")
    assert sum((data.class_counts or {}).values()) == 600
    assert len(second.code.commit) == 40
    # The lock file was changed and not committed.
    assert second.code.dirty
    place = second.environment
    assert place.platform
    assert (place.packages or {})["mlflow"]
    assert second.seeds == {"random_state": "0", "split_seed": "0", "bootstrap": "0"}


def test_expectations_with_their_results(second: Record) -> None:
    expected = second.expectations
    assert expected is not None
    assert (expected.passed, expected.rows, expected.origin) == (True, 600, "learned")
    assert all(each.holds for each in expected.results)
    between = [e for e in expected.results if e.expectation.endswith("values_to_be_between")]
    assert [each.column for each in between] == ["price", "visits"]
    assert set(between[0].arguments) == {"min_value", "max_value", "mostly"}


def test_metrics_with_intervals_and_slices(second: Record) -> None:
    metrics = {each.name: each for each in second.metrics}
    auc = metrics["roc_auc"]
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low < auc.value <= auc.high
    assert auc.train is not None
    assert metrics["accuracy"].low is not None
    assert metrics["calibration_error"].low is None
    assert not any(name.startswith(("train_", "cv_", "system/")) for name in metrics)
    assert set(second.cost) == {"training_seconds", "cpu_seconds", "peak_memory_mb"}
    slices = {each.value: each for each in second.slices or ()}
    assert slices["north"].metrics
    assert slices["west <b>"].metrics is None
    assert second.comparison is not None
    assert second.comparison.champion == 1
    assert [each.metric for each in second.comparison.differences] == ["roc_auc"]


def test_gates_with_their_evidence(second: Record) -> None:
    assert (second.gates.verdict, second.gates.why) == ("passed", "")
    thresholds, serves = second.gates.results
    assert (thresholds.gate, thresholds.passed, thresholds.blocking) == (
        "meets_thresholds",
        True,
        True,
    )
    assert thresholds.run == "22222222-0000-4000-8000-000000000002"
    (gate,) = thresholds.evidence["gates"]
    assert (gate["metric"], gate["at_least"], gate["passed"]) == ("roc_auc", 0.5, True)
    assert (serves.gate, serves.evidence) == ("serves", {"rows": 20})


def test_the_parent_and_what_changed_from_it(second: Record) -> None:
    assert second.parent is not None
    assert second.parent.version == 1
    parameters, data, code, environment, metrics = second.parent.changed
    assert parameters == "parameters: C 1.0 → 0.05"
    assert "rows 400 → 600" in data
    assert code.startswith("code: ")
    assert "with uncommitted changes" in code
    assert environment.startswith("environment: lock ")
    assert "roc_auc" in metrics


def test_bundle_image_and_moves(first: Record, second: Record) -> None:
    assert second.bundle is not None
    assert (second.bundle.signed, second.bundle.runtime) == (False, "onnxruntime")
    assert second.image == f"sha256:{2:064x}"
    assert second.quarantine is not None
    assert second.quarantine.reason == "complaints"
    told = [(each.what, each.other, each.actor, each.reason) for each in first.moves]
    assert told == [
        ("deployed", None, "ann", "passed its gates"),
        ("replaced", 2, "bob", "passed its gates"),
        ("rolled back to", 2, "carol", "complaints"),
    ]
    assert [(each.what, each.other) for each in second.moves] == [
        ("deployed", 1),
        ("rolled back from", 1),
    ]


def test_nights(first: Record, second: Record) -> None:
    nights = first.nights
    assert nights is not None
    assert (nights.count, nights.first, nights.last) == (3, "2026-03-01", "2026-03-03")
    assert nights.baseline == 0.82
    assert nights.worst is not None
    assert (nights.worst.day, nights.worst.metrics["roc_auc"]) == ("2026-03-02", 0.6)
    assert nights.most_drift is not None
    assert nights.most_drift.day == "2026-03-03"
    assert nights.alarms == {"performance": 1}
    assert [each.verdicts for each in nights.recent] == [
        {},
        {"performance": "alarm"},
        {"performance": "ok"},
    ]
    assert second.nights is None
    assert second.missing["nights"] == "it was not evaluated on any night yet"


def test_what_was_not_kept_of_an_older_version_is_null_with_a_reason(first: Record) -> None:
    assert (first.slices, first.comparison, first.parent) == (None, None, None)
    assert first.environment.packages is None
    assert {metric.low for metric in first.metrics} == {None}
    early = "it was not yet written down when this version was "
    assert first.missing["slices"] == f"{early}evaluated"
    assert first.missing["environment.packages"] == f"{early}trained"
    assert first.missing["parent"] == "no version served when it was trained"
    assert first.missing["security"] == "no security assessment was kept of it"


def test_a_version_whose_store_is_gone_still_has_a_record(shop: Any, tmp_path: Path) -> None:
    sources: Sources = shop.sources
    elsewhere = Sources(sources.books, sources.events, Store(str(tmp_path / "store")))
    found = lineage(elsewhere, "shop", 2, "roc_auc")
    assert found.data is not None  # MLflow has a copy of the description
    assert found.bundle is not None
    assert (found.bundle.files, found.bundle.signed) == (None, None)
    assert "not in the store" in found.missing["bundle.files"]


def test_the_default_is_the_version_that_serves(shop: Any) -> None:
    books: Books = shop.sources.books
    assert newest(books, "shop") == 1
    with pytest.raises(NotFoundError, match="has no version yet"):
        newest(books, "nobody")


def test_a_version_that_is_not_there(shop: Any) -> None:
    with pytest.raises(NotFoundError, match="shop has no version 9"):
        lineage(shop.sources, "shop", 9, "roc_auc")


def test_books_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to be looked at")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(TrackingError, match=r"reading shop: file is not a database; check") as told:
        open_books(uri).version("shop", 1)
    assert "\n" not in str(told.value)
    with pytest.raises(MlopsError, match="event log .* cannot be read: file is not a database"):
        EventLog(uri).deployments("shop")


def test_books_that_are_not_there_yet_are_not_made(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'none.db'}"
    assert open_books(uri).versions("shop") == []
    assert EventLog(uri).deployments("shop") == ()
    assert not [*tmp_path.iterdir()]


def deployed(version: int, action: str) -> Deployed:
    return Deployed(version, f"2026-03-0{version}", action, "ann", "why", "run")


def test_a_version_that_is_deployed_again_moves_nothing() -> None:
    found = moves([deployed(1, "deploy"), deployed(1, "unchanged"), deployed(2, "deploy")])[1]
    assert [(each.what, each.other) for each in found] == [
        ("deployed", None),
        ("unchanged", None),
        ("replaced", 2),
    ]


def test_the_worst_night_runs_the_way_of_its_metric() -> None:
    from mlops_pipelines.measure.metrics import METRICS

    smaller = {name for name, metric in METRICS.items() if not metric.greater_is_better}
    assert set(SMALLER_IS_BETTER) == smaller
    found = [
        Night(f"2026-03-0{day}", 1, "r", {"rmse": value}, {})
        for day, value in enumerate((1.0, 3.0, float("nan")), 1)
    ]
    bad = worst(found, "rmse")
    assert bad is not None
    assert bad.day == "2026-03-02"
    assert worst(found, "mae") is None
