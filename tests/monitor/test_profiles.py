"""A day is counted once, again when its rows change, and what is kept of it outlives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops_pipelines.errors import DataError, NotFoundError, StoreError
from mlops_pipelines.measure.profile import Column, Profile, profile_like, reference_profile
from mlops_pipelines.measure.window import add, to_json
from mlops_pipelines.monitor import tables
from mlops_pipelines.monitor.day_table import connect
from mlops_pipelines.monitor.predictions import day_key
from mlops_pipelines.monitor.profiles import (
    profile_day,
    profile_days,
    profile_key,
    window_of,
    windows,
)
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

DAY = "2026-03-01"
SCHEMA = Path(__file__).parents[2] / "docs" / "profile.schema.json"


def answered(n: int, seed: int, version: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "model_version": version,
            "x": rng.normal(size=n),
            "site": rng.choice(["a", "b", "c"], size=n),
            "score": rng.random(n),
            "prediction": rng.choice([True, False], size=n),
        }
    )


REFERENCE = reference_profile(
    answered(500, 0),
    [
        Column("x", "numeric"),
        Column("site", "categorical"),
        Column("score", "numeric"),
        Column("prediction", "categorical"),
    ],
)


def reference(version: int) -> Profile:
    if version not in (1, 2):
        raise NotFoundError(f"there is no version {version}")
    return REFERENCE


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def spec(make_spec: Callable[..., ModelSpec]) -> ModelSpec:
    return make_spec(data={"segments": ["site"]})


def write(store: Store, frame: pd.DataFrame, day: str = DAY) -> None:
    tables.write_table(store, day_key("churn", day), pa.Table.from_pandas(frame))


def test_a_day_is_counted_once_and_again_when_its_rows_change(store: Store, spec: Any) -> None:
    asked: list[int] = []

    def told(version: int) -> Profile:
        asked.append(version)
        return reference(version)

    rows = pd.concat([answered(70, 1), answered(30, 2, version=2), answered(5, 3, version=9)])
    write(store, rows)
    found = profile_day(store, spec, DAY, told)
    assert [(w.version, w.whole.n, w.start, w.end) for w in found] == [
        (1, 70, DAY, "2026-03-02"),
        (2, 30, DAY, "2026-03-02"),
    ]
    assert found[0].whole.columns[3].counts == (
        profile_like(answered(70, 1), REFERENCE).columns[3].counts
    )
    assert sum(part.n for part in found[0].segments["site"].values()) == 70
    assert profile_day(store, spec, DAY, told) == windows(store, "churn") == found
    assert asked == [1, 2, 9]
    kept = store.read_json(profile_key("churn", DAY))

    write(store, pd.concat([rows, answered(10, 4)]))
    late = window_of(store, spec, 1, DAY, told)
    assert late is not None and late.whole.n == 80
    assert window_of(store, spec, 7, DAY, told) is None
    assert asked == [1, 2, 9, 1, 2, 9]

    jsonschema.validate(kept, json.loads(SCHEMA.read_text()))
    jsonschema.validate(json.loads(REFERENCE.to_json()), json.loads(SCHEMA.read_text()))


def test_the_published_schema_is_the_one_that_is_written() -> None:
    import runpy

    made = runpy.run_path(str(SCHEMA.with_name("profile_schema.py")))
    assert json.loads(SCHEMA.read_text()) == made["schema"]()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 2, "windows": []}, made["schema"]())


def test_other_segments_are_counted_anew(store: Store, spec: Any, make_spec: Any) -> None:
    write(store, answered(20, 1))
    assert set(profile_day(store, spec, DAY, reference)[0].segments) == {"site"}
    assert profile_day(store, make_spec(), DAY, reference)[0].segments == {}


def test_what_was_counted_outlives_the_rows(store: Store, spec: Any) -> None:
    assert profile_day(store, spec, DAY, reference) == ()
    write(store, answered(20, 1))
    counted = profile_day(store, spec, DAY, reference)
    Path(store.uri(day_key("churn", DAY))).unlink()
    assert profile_day(store, spec, DAY, reference) == counted


def test_days_run_side_by_side_and_say_how_far_they_are(store: Store, spec: Any) -> None:
    days = [f"2026-03-{day:02}" for day in range(1, 8)]
    frames = [answered(40, seed) for seed in range(6)]
    for day, frame in zip(days, frames, strict=False):
        write(store, frame, day)
    seen: list[tuple[int, int]] = []
    found = profile_days(
        store, spec, days, reference, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(done, 7) for done in range(1, 8)]
    assert list(found) == days and found[days[6]] == ()
    kept = windows(store, "churn", days[0], days[6])
    assert kept == tuple(window for day in days for window in found[day])
    assert [w.start for w in windows(store, "churn", days[1], days[2], version=1)] == days[1:3]
    week = add(kept).whole
    whole = profile_like(pd.concat(frames), REFERENCE)
    assert [c.counts for c in week.columns] == [c.counts for c in whole.columns]


def test_broken_files_are_one_clear_line(store: Store, spec: Any) -> None:
    store.write_bytes(profile_key("churn", DAY), b"{")
    with pytest.raises(DataError, match=r"churn/2026-03-01.json: profile: not readable"):
        windows(store, "churn")
    write(store, answered(20, 1))
    assert profile_day(store, spec, DAY, reference)[0].whole.n == 20
    assert len(windows(store, "churn")) == 1
    store.write_bytes(day_key("churn", DAY), b"no parquet")
    with pytest.raises(
        StoreError, match=r"cannot be read at predictions/churn/2026-03-01"
    ) as error:
        profile_day(store, spec, DAY, reference)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_warehouse_counts_the_same_days(store: Store, spec: Any, tmp_path: Path) -> None:
    import duckdb

    frame = answered(60, 1)
    write(store, frame)
    times = pd.date_range("2026-02-28T23:00", periods=60, freq="30min", tz="UTC")
    table = frame.assign(predicted_at=times, logged_at=times)
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.register("given", table)
        connection.execute("create table predictions_churn as select * from given")
    warehouse = connect(f"duckdb://{path}")
    try:
        found = profile_day(store, spec, DAY, reference, warehouse)
        assert [w.whole.n for w in found] == [48]
        mine = profile_like(frame[2:50], REFERENCE)
        assert [c.counts for c in found[0].whole.columns] == [c.counts for c in mine.columns]
        assert profile_day(store, spec, "2026-03-09", reference, warehouse) == ()
    finally:
        warehouse.disconnect()
    with pytest.raises(StoreError) as error:
        connect("postgres://user:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value) and "postgres://…" in str(error.value)


def test_a_merged_file_is_as_the_schema_says(store: Store, spec: Any) -> None:
    write(store, answered(20, 1))
    found = profile_day(store, spec, DAY, reference)
    jsonschema.validate(json.loads(to_json(found)), json.loads(SCHEMA.read_text()))
