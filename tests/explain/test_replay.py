from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.explain.logged_days import days_that_may_hold
from mlops_pipelines.explain.replay import Replay, _request, replay
from mlops_pipelines.monitor.predictions import day_key
from mlops_pipelines.monitor.tables import TIME, write_table
from mlops_pipelines.serve.known import IDS, hashes
from mlops_pipelines.store import Store


def day(store: Store, key: str, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    for name in ("predicted_at", "logged_at"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, table[name].cast(TIME))
    write_table(store, day_key("churn", key), table)


def row(prediction: str, request: str, place: int, **more: Any) -> dict[str, Any]:
    at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    return {
        "prediction_id": prediction,
        "request_id": request,
        "request_row": place,
        "predicted_at": at,
        "logged_at": at,
        "model_version": 2,
        "prediction": 1,
        "score": 0.1 + 0.2,
        "probabilities": None,
        "latency_ms": 1.0,
        "age": 30.5,
        "visits": 2**53 + 1,
        "site": "a",
        **more,
    }


def test_a_prediction_that_was_never_made_is_not_found(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    day(store, "2026-03-01", [row("p1", "r1", 0)])

    with pytest.raises(NotFoundError) as caught:
        replay(None, store, tmp_path / "log", "churn", "p9")  # type: ignore[arg-type]

    assert str(caught.value) == (
        "churn has no prediction p9: it is neither in the log nor in any day of predictions/churn"
    )


def test_the_whole_request_is_found_in_its_order(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    day(store, "2026-03-01", [row("p0", "r0", 0)])
    day(
        store,
        "2026-03-02",
        [
            row("p3", "r1", 2, site=None),
            row("p4", "r2", 0),
            row("p1", "r1", 0),
            row("p2", "r1", 1, age=None, visits=None),
        ],
    )

    rows, place = _request(store, tmp_path / "log", "churn", "p2")

    assert place == 1
    assert [each["prediction_id"] for each in rows] == ["p1", "p2", "p3"]
    assert [each["features"] for each in rows] == [
        {"age": 30.5, "visits": 2**53 + 1, "site": "a"},
        {"age": None, "visits": None, "site": "a"},
        {"age": 30.5, "visits": 2**53 + 1, "site": None},
    ]
    assert {each["score"] for each in rows} == {0.1 + 0.2}
    assert {each["version"] for each in rows} == {2}


def test_requests_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    later = datetime(2026, 3, 1, 11, tzinfo=UTC)
    again = [row("p3", "r1", 0, logged_at=later), row("p4", "r1", 1, logged_at=later)]
    day(store, "2026-03-01", [row("p1", "r1", 0), row("p2", "r1", 1), *again])

    rows, place = _request(store, tmp_path / "log", "churn", "p4")

    assert ([each["prediction_id"] for each in rows], place) == (["p3", "p4"], 1)
    assert rows[0]["predicted_at"] == "2026-03-01T10:00:00.000000Z"


def test_a_day_is_opened_only_if_its_index_may_hold_the_prediction(tmp_path: Path) -> None:
    store, log_dir = Store(str(tmp_path / "store")), tmp_path / "log"
    for at in ("2026-03-01", "2026-03-02", "2026-03-03"):
        day(store, at, [row(f"p-{at}", "r", 0)])
    (log_dir / IDS).mkdir(parents=True)
    for at in ("2026-03-02", "2026-03-03"):
        hashes([f"p-{at}".encode()]).tofile(log_dir / IDS / f"{at}.u64")

    assert list(days_that_may_hold(store, log_dir, "churn", "p-2026-03-02")) == [
        day_key("churn", "2026-03-02"),
        day_key("churn", "2026-03-01"),
    ]


@pytest.mark.parametrize(
    ("logged", "replayed", "identical"),
    [
        ({"prediction": 1, "score": 0.3}, {"prediction": 1, "score": 0.3}, True),
        ({"prediction": 1, "score": 0.3}, {"prediction": 1, "score": 0.1 + 0.2}, False),
        ({"prediction": 1, "score": None}, {"prediction": 0, "score": None}, False),
        ({"prediction": "a", "score": None}, {"prediction": "a", "score": None}, True),
    ],
)
def test_identical_is_to_the_last_bit(
    logged: dict[str, Any], replayed: dict[str, Any], identical: bool
) -> None:
    assert Replay("p", 1, "now", logged, replayed).identical is identical
