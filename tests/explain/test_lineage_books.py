"""The books asked without MLflow and Dagster say what MLflow and Dagster say, in few questions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from benchmarks.lineage_books import fill_dagster, fill_mlflow, fill_store
from mlops_pipelines import record
from mlops_pipelines.environment import with_driver
from mlops_pipelines.explain.books import open_books
from mlops_pipelines.explain.books_database import DatabaseBooks
from mlops_pipelines.explain.books_server import ServerBooks
from mlops_pipelines.explain.event_log import EventLog
from mlops_pipelines.explain.history import history
from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.tracking import connect

NAMES = ("roc_auc", "roc_auc_low", "drift_columns", "labelled")


@pytest.fixture(scope="module")
def both(shop: Any) -> tuple[DatabaseBooks, ServerBooks]:
    uri = shop.registry.tracking_uri
    # MLflow keeps what is no number beside a zero.
    with shop.registry.night("shop", "2026-03-04", 7) as night:
        night.log({"roc_auc": float("nan"), "labelled": 0.0})
    return DatabaseBooks(uri), ServerBooks(uri)


def told(value: Any) -> Any:
    return repr(value)


def test_versions_are_as_mlflows_client_says(both: tuple[DatabaseBooks, ServerBooks]) -> None:
    database, client = both
    for version in (1, 2):
        ours = replace(database.version("shop", version), artifacts="")
        assert ours.params
        assert ours == client.version("shop", version)
    listed = [replace(each, artifacts="", params={}) for each in database.versions("shop")]
    assert listed == [replace(each, params={}) for each in client.versions("shop")]
    assert (
        database.numbers("shop") == client.numbers("shop") == {1: ("champion",), 2: ("previous",)}
    )


def test_nights_are_as_mlflows_client_says(both: tuple[DatabaseBooks, ServerBooks]) -> None:
    database, client = both
    for version in (None, 1, 2, 7):
        ours = database.nights("shop", NAMES, version)
        assert [
            told(replace(each, metrics=dict(sorted(each.metrics.items())))) for each in ours
        ] == [
            told(replace(each, metrics=dict(sorted(each.metrics.items()))))
            for each in client.nights("shop", NAMES, version)
        ]
    assert len(database.nights("shop", NAMES)) == 4
    runs = [each.run_id for each in database.nights("shop", [], 1)]
    assert database.measured(runs, NAMES) == client.measured(runs, NAMES)
    assert database.measured([], NAMES) == client.measured([], NAMES) == {}


def test_things_are_found_as_mlflows_client_finds_them(
    shop: Any, both: tuple[DatabaseBooks, ServerBooks]
) -> None:
    database, client = both
    entry = database.version("shop", 2)
    for tag, digits in ((record.BUNDLE, 12), (record.SNAPSHOT, 64), (record.IMAGE, 10)):
        start = entry.tags[tag][:digits]
        ours = database.tagged([tag, record.TASK], start)
        assert {each.version for each in ours} >= {2}
        assert sorted(ours, key=told) == sorted(client.tagged([tag, record.TASK], start), key=told)
    (night, *_) = database.nights("shop", [], 1)
    for run in (entry.run_id, night.run_id, "0" * 32):
        assert database.run(run) == client.run(run)
    assert database.artifact(entry, "evaluation.json") == client.artifact(entry, "evaluation.json")
    assert database.artifact(entry, "none.json") is client.artifact(entry, "none.json") is None


def test_both_give_the_same_record(shop: Any, both: tuple[DatabaseBooks, ServerBooks]) -> None:
    records = [
        lineage(Sources(books, shop.sources.events, shop.store), "shop", 1, "roc_auc")
        for books in both
    ]
    assert records[0] == records[1]


def test_deployments_are_as_dagster_says(shop: Any) -> None:
    with dg.DagsterInstance.from_config(str(shop.home / "dagster")) as instance:
        found = instance.fetch_materializations(dg.AssetKey(["shop", "deployment"]), limit=100)
    theirs = [
        (
            int(each.asset_materialization.partition),
            *(each.asset_materialization.metadata[n].value for n in ("action", "actor", "reason")),
            each.run_id,
        )
        for each in reversed(found.records)
    ]
    ours = shop.sources.events.deployments("shop")
    assert theirs == [(d.version, d.action, d.actor, d.reason, d.run_id) for d in ours]
    assert len(theirs) == 3


def test_checks_are_as_dagster_says(shop: Any) -> None:
    key = dg.AssetCheckKey(dg.AssetKey(["shop", "evaluation"]), "meets_thresholds")
    with dg.DagsterInstance.from_config(str(shop.home / "dagster")) as instance:
        found = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    evaluations = [each.event.dagster_event.asset_check_evaluation_data for each in found]
    theirs = {
        each.partition: (each.passed, each.blocking, each.description, each.metadata["rows"].value)
        for each in evaluations
    }
    for version in (1, 2):
        ours, _ = shop.sources.events.gates("shop", version)
        said = (ours.passed, ours.blocking, ours.says, ours.metadata["rows"])
        assert said == theirs[str(version)]


def test_a_check_that_a_failed_run_only_planned_is_no_answer(tmp_path: Path) -> None:
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationPlanned,
    )
    from dagster._core.events import DagsterEvent

    fill_dagster(tmp_path, "churn", 2)
    planned = AssetCheckEvaluationPlanned(
        asset_key=dg.AssetKey(["churn", "image"]),
        check_name="serves",
        partitions_subset=dg.DynamicPartitionsDefinition(name="v").subset_with_partition_keys(
            ["1"]
        ),
    )
    event = DagsterEvent("ASSET_CHECK_EVALUATION_PLANNED", "job", event_specific_data=planned)
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        instance.report_dagster_event(event, "11111111-0000-4000-8000-000000000001")
    events = EventLog(f"sqlite:///{tmp_path / 'dagster' / 'history' / 'runs' / 'index.db'}")
    (gate,) = events.gates("churn", 1)
    assert gate.name == "meets_thresholds"


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that any engine executes meanwhile."""
    seen: list[str] = []

    def count(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)


def many(home: Path, versions: int, nights: int) -> Sources:
    home.mkdir()
    uri = fill_mlflow(home, "churn", versions, nights)
    fill_dagster(home, "churn", versions)
    fill_store(home, "churn", versions)
    events = EventLog(f"sqlite:///{home / 'dagster' / 'history' / 'runs' / 'index.db'}")
    return Sources(open_books(uri), events, Store(str(home / "store")))


def test_no_version_and_no_night_adds_a_question(tmp_path: Path) -> None:
    asked = []
    for versions, nights in ((3, 9), (1000, 10_000)):
        sources = many(tmp_path / str(versions), versions, nights)
        with counted() as of_record:
            found = lineage(sources, "churn", versions - 1, "roc_auc")
        assert found.nights is not None
        assert (found.nights.count, found.parent.version) == (nights // versions, versions - 2)
        with counted() as of_history:
            lines = history(
                sources.books.versions("churn"),
                sources.events.deployments("churn"),
                sources.books.nights("churn", ["roc_auc"]),
                "roc_auc",
            )
        assert len(lines) == versions
        assert sum(line.nights for line in lines) == nights
        asked.append((len(of_record), len(of_history)))
    assert asked[0] == asked[1]
    assert max(asked[0]) < 30


def test_neither_mlflow_nor_dagster_nor_pandas_is_imported(shop: Any) -> None:
    import subprocess
    import sys

    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from mlops_pipelines.project import Project\n"
            "from mlops_pipelines.explain.sources import Sources\n"
            "from mlops_pipelines.explain.lineage import lineage\n"
            "lineage(Sources.of(Project.find()), 'shop', 2, 'roc_auc')\n"
            "heavy = ('mlflow', 'dagster', 'pandas', 'numpy', 'sklearn', 'pyarrow')\n"
            "print([name for name in heavy if name in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"MLOPS_PROJECT": str(shop.root), "MLOPS_HOME": str(shop.home), "PATH": "/usr/bin"},
    )
    assert said.stdout.strip() == "[]"


def test_postgresql_is_asked_as_sqlite_is(postgres_url: str, tmp_path: Path) -> None:
    registry = Registry(postgres_url, str(tmp_path / "artifacts"))
    with registry.training("churn", {record.VERSION: 1, record.DAGSTER_RUN: "ab" * 6}) as run:
        run.log({"roc_auc": 0.9, "train_roc_auc": float("nan")}, {"C": 1})
    client = connect(registry.tracking_uri)
    client.create_registered_model("churn")
    client.create_model_version("churn", "x", run.run_id, tags={record.DAGSTER_RUN: "ab" * 6})
    client.set_registered_model_alias("churn", record.CHAMPION, "1")
    for day, number in (("2026-03-01", 1), ("2026-03-02", 2)):
        with registry.night("churn", day, number) as night:
            night.log({"roc_auc": 0.5, "labelled": 3}, tags={"mlops.verdict.drift": "ok"})
    database, server = open_books(postgres_url), ServerBooks(registry.tracking_uri)

    ours = replace(database.version("churn", 1), artifacts="")
    theirs = server.version("churn", 1)
    # What is no number is not equal to itself.
    assert told(sorted(ours.metrics.items())) == told(sorted(theirs.metrics.items()))
    assert replace(ours, metrics={}) == replace(theirs, metrics={})
    assert database.numbers("churn") == {1: ("champion",)}
    nights = database.nights("churn", ["roc_auc"])
    assert [(each.day, each.metrics, each.verdicts) for each in nights] == [
        ("2026-03-01", {"roc_auc": 0.5}, {"drift": "ok"}),
        ("2026-03-02", {"roc_auc": 0.5}, {"drift": "ok"}),
    ]
    assert (
        nights[1:]
        == database.nights("churn", ["roc_auc"], 2)
        == server.nights("churn", ["roc_auc"], 2)
    )
    assert database.measured([nights[0].run_id], ["labelled"]) == {
        nights[0].run_id: {"labelled": 3.0}
    }
    assert [each.version for each in database.tagged([record.DAGSTER_RUN], "abab")] == [1]
    assert database.run(run.run_id) == server.run(run.run_id)


@pytest.fixture
def dagsters_database(postgres_url: str) -> Iterator[str]:
    """Beside MLflow's: both would keep their revision in one table."""
    url = with_driver(postgres_url)
    name = f"{postgres_url.rpartition('/')[2]}_dagster"
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    yield f"{url.rpartition('/')[0]}/{name}"
    with admin.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


def test_dagsters_events_in_postgresql(dagsters_database: str, tmp_path: Path) -> None:
    url = dagsters_database
    settings = {"storage": {"postgres": {"postgres_url": url}}}
    (tmp_path / "dagster.yaml").write_text(json.dumps(settings))
    said = {"action": "deploy", "actor": "ann", "reason": "why"}
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(["churn", "deployment"], partition="4", metadata=said)
        )
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(["churn", "training_data"]),
                check_name="expectations",
                passed=True,
                description="all hold",
            )
        )
    events = EventLog(url)
    (one,) = events.deployments("churn")
    assert (one.version, one.action, one.actor, one.reason) == (4, "deploy", "ann", "why")
    now = datetime.now(UTC)
    check = events.expectations("churn", now + timedelta(minutes=1))
    assert check is not None
    assert check.says == "all hold"
    assert events.expectations("churn", now - timedelta(days=1)) is None
    assert events.gates("churn", 4) == ()
    assert events.made_by("abcdef01") == {}
