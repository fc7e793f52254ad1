"""The log becomes days of Parquet: every acknowledged row once, in its day, whatever happens."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import StoreError
from mlops_pipelines.monitor.predictions import Compacted, compact, day_key, day_rows, days
from mlops_pipelines.serve.known import KnownIds, hashes
from mlops_pipelines.serve.log import SegmentWriter
from mlops_pipelines.store import Store

DAY, NEXT = "2026-03-01", "2026-03-02"


def row(
    name: str,
    day: str = DAY,
    features: Any = (1.5,),
    prediction: Any = 1,
    second: int = 0,
    time: str = "12:00",
) -> list[Any]:
    at = f"{day}T{time}:{second:02}.000001Z"
    return [name, f"r{name}", 0, at, at, prediction, 0.75, [0.25, 0.75], 1.25, list(features)]


def in_log(logs: Any) -> list[Path]:
    return sorted(path for path in logs.log_dir.iterdir() if path.is_file())


def indexes(logs: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (logs.log_dir / "ids").iterdir()}


def test_a_day_as_a_frame(logs: Any) -> None:
    logs.write(
        [row("b", second=2), row("a", features=[0.1 + 0.2], second=1), row("c", NEXT)], version=3
    )
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 2, NEXT: 1}, 3, 0, 0)
    frame = day_rows(logs.store, "churn", DAY)
    assert frame.drop(columns=["probabilities", "predicted_at", "logged_at"]).to_dict("list") == {
        "prediction_id": ["a", "b"],
        "request_id": ["ra", "rb"],
        "request_row": [0, 0],
        "model_version": [3, 3],
        "prediction": [1, 1],
        "score": [0.75, 0.75],
        "latency_ms": [1.25, 1.25],
        "x": [0.1 + 0.2, 1.5],
    }
    assert str(frame["predicted_at"].dtype) == "datetime64[us, UTC]"
    assert [value.isoformat() for value in frame["predicted_at"]] == [
        "2026-03-01T12:00:01.000001+00:00",
        "2026-03-01T12:00:02.000001+00:00",
    ]
    assert [list(value) for value in frame["probabilities"]] == [[0.25, 0.75]] * 2
    assert days(logs.store, "churn") == [NEXT, DAY]


def test_a_day_without_rows_has_the_columns_of_the_log(logs: Any) -> None:
    empty = day_rows(logs.store, "churn", DAY)
    logs.write([row("a")])
    compact(logs.store, logs.log_dir, "churn")
    assert list(day_rows(logs.store, "churn", DAY).columns) == [*empty.columns, "x"]
    assert len(empty) == 0


def test_no_log_folder_is_no_rows(logs: Any) -> None:
    assert compact(logs.store, logs.root / "elsewhere" / "log", "churn") == Compacted()


def test_running_it_again_changes_no_byte(logs: Any) -> None:
    logs.write([row("a"), row("b", NEXT)], pid=os.getpid())
    compact(logs.store, logs.log_dir, "churn")
    before = logs.files(), indexes(logs)
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 1, NEXT: 1}, 0, 0, 0)
    assert (logs.files(), indexes(logs)) == before


def test_late_rows_land_in_their_day(logs: Any) -> None:
    logs.write([row("a", NEXT)])
    compact(logs.store, logs.log_dir, "churn")
    logs.write([row("late", DAY), row("b", NEXT)])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 1, NEXT: 2}, 2, 0, 0)
    assert list(day_rows(logs.store, "churn", DAY)["prediction_id"]) == ["late"]


def test_the_first_of_two_rows_with_one_id_is_kept(logs: Any) -> None:
    logs.write([row("a", prediction=0), row("a", prediction=1)])
    logs.write([row("a", prediction=1)])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 1}, 1, 2, 0)
    logs.write([row("a", prediction=1)])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 1}, 0, 0, 0)
    assert list(day_rows(logs.store, "churn", DAY)["prediction"]) == [0]


def test_two_versions_with_other_columns_share_a_day(logs: Any) -> None:
    logs.write([row("a", features=[1, "x"])], version=1, columns=["n", "s"])
    logs.write([row("b", features=[2.5, True])], version=2, columns=["n", "b"])
    compact(logs.store, logs.log_dir, "churn")
    frame = day_rows(logs.store, "churn", DAY)
    found = frame[["model_version", "n", "s", "b"]].astype(object)
    assert found.where(found.notna(), None).to_dict("list") == {
        "model_version": [1, 2],
        "n": [1.0, 2.5],
        "s": ["x", None],
        "b": [None, True],
    }


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ([1, None], [3], [1.0, None, 3.0]),
        ([None, None], ["a"], [None, None, "a"]),
        ([True, False], [None], [True, False, None]),
        ([1, 2], ["a"], ["1", "2", "a"]),
        ([True], [2], ["true", "2"]),
        ([2**63], [1], [float(2**63), 1.0]),
        ([2**53 + 1, 0.5], [1], [float(2**53), 0.5, 1.0]),
        ([1, "a"], [2.5], ["1", "a", "2.5"]),
    ],
)
def test_a_column_has_one_type(logs: Any, first: list[Any], second: list[Any], kept: Any) -> None:
    for number, values in enumerate((first, second)):
        logs.write([row(f"{number}{i}", features=[v]) for i, v in enumerate(values)])
    compact(logs.store, logs.log_dir, "churn")
    found = day_rows(logs.store, "churn", DAY)["x"].astype(object)
    assert found.where(found.notna(), None).tolist() == kept


CORRUPT = {
    "not JSON": b'["a", 1',
    "no row": {"a": 1},
    "too few fields": row("a")[:-1],
    "too few features": [*row("a")[:-1], []],
    "features that are none": [*row("a")[:-1], None],
    "a fraction of a row": [*row("a")[:2], 0.5, *row("a")[3:]],
    "a row below none": [*row("a")[:2], -1, *row("a")[3:]],
    "an hour too many": [*row("a")[:3], f"{DAY}T24:00:00.000000Z", *row("a")[4:]],
    "a time with a line": [*row("a")[:3], f"{DAY}T12:00:00.000000Z\n", *row("a")[4:]],
    "a year before the first": [*row("a")[:3], "0000-01-01T12:00:00.000000Z", *row("a")[4:]],
    "a probability of text": [*row("a")[:7], ["0.5"], *row("a")[8:]],
    "no latency": [*row("a")[:8], None, *row("a")[9:]],
    "an id that is no text": [7, *row("a")[1:]],
    "no time": [*row("a")[:3], "yesterday", *row("a")[4:]],
    "a day that is not": [*row("a")[:3], "2026-02-30T00:00:00.000000Z", *row("a")[4:]],
    "a score that is no number": [*row("a")[:6], "high", *row("a")[7:]],
    "no prediction": [*row("a")[:5], None, *row("a")[6:]],
}


@pytest.mark.parametrize("fault", CORRUPT)
def test_a_corrupt_line_is_counted_and_its_segment_set_aside(logs: Any, fault: str) -> None:
    path = logs.write([row("a"), CORRUPT[fault], row("b")])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 2}, 2, 0, 1)
    assert in_log(logs) == [path.with_suffix(".corrupt")]
    assert compact(logs.store, logs.log_dir, "churn") == Compacted()


def test_only_segments_that_nobody_writes_to_go(logs: Any) -> None:
    logs.write([row("a")])
    rotated = logs.write([row("b")], pid=os.getpid())
    living = logs.write([row("c")], pid=os.getpid(), end=b'["d", "half')
    labels = logs.write([], kind="labels")
    stranger = logs.log_dir / "notes.ndjson"
    stranger.write_bytes(b"hello\n")
    reused = logs.log_dir / f"churn-v2-1700000000000-{os.getpid()}.ndjson"
    reused.write_bytes(living.read_bytes())
    compact(logs.store, logs.log_dir, "churn")
    assert not rotated.exists()
    assert not reused.exists(), "this process is younger than that segment"
    assert in_log(logs) == sorted([labels, living, stranger])


def test_rows_of_a_living_writer_stay_in_its_log_until_it_rotates(logs: Any) -> None:
    header = {"schema": 1, "kind": "predictions", "model_version": 1, "columns": ["x"]}
    writer = SegmentWriter(logs.log_dir, "churn-v1", header, fsync=False)

    async def answer(name: str) -> None:
        await writer.append_and_wait(orjson.dumps(row(name)) + b"\n")

    asyncio.run(answer("a"))
    compact(logs.store, logs.log_dir, "churn")
    assert len(list(logs.log_dir.glob("*.ndjson"))) == 1
    asyncio.run(answer("b"))
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 2}, 1, 0, 0)
    assert len(list(logs.log_dir.glob("*.ndjson"))) == 1
    writer.close()


def test_an_unwritable_store_loses_nothing(logs: Any) -> None:
    path = logs.write([row("a")])
    (logs.root / "store").write_text("a file stands where the folder should")
    with pytest.raises(StoreError):
        compact(logs.store, logs.log_dir, "churn")
    assert path.exists()
    (logs.root / "store").unlink()
    assert compact(logs.store, logs.log_dir, "churn").new == 1


def test_compactions_at_once_wait_for_each_other(logs: Any) -> None:
    for number in range(4):
        logs.write([row(f"{number}-{i}", DAY if i % 2 else NEXT) for i in range(200)])
    done: list[Compacted] = []
    threads = [
        threading.Thread(target=lambda: done.append(compact(logs.store, logs.log_dir, "churn")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.new for each in done) == [0, 0, 800]
    assert len(day_rows(logs.store, "churn", DAY)) == 400


IDS = st.sampled_from([f"id{i}" for i in range(12)])
DAYS = st.sampled_from(["2026-02-28", DAY, NEXT])
ROW = st.tuples(IDS, DAYS, st.integers(0, 3) | st.none())
SEGMENT = st.tuples(
    st.lists(ROW, max_size=6),
    st.booleans(),
    st.sampled_from([b"", b"[", b'["cut", "r", 0, "2026-03-01T']),
    st.sampled_from([(), (b"not json",), (b"[1,2]",)]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SEGMENT, st.booleans()), max_size=6))
def test_every_acknowledged_row_once_in_its_day(new_logs: Any, segments: Any) -> None:
    with new_logs() as logs:
        acknowledged: dict[tuple[str, str], Any] = {}
        corrupt = 0
        for (rows, again, end, faults), compact_now in segments:
            lines = [row(name, day, [x]) for name, day, x in rows]
            logs.write([*lines, *faults, *(lines if again else [])], end=end)
            for name, day, x in rows:
                acknowledged.setdefault((day, name), x)
            corrupt += len(faults)
            if compact_now:
                found = compact(logs.store, logs.log_dir, "churn")
                assert found.corrupt == corrupt
                corrupt = 0
        compact(logs.store, logs.log_dir, "churn")
        kept = {}
        for day in days(logs.store, "churn"):
            frame = day_rows(logs.store, "churn", day)
            assert max(Counter(frame["prediction_id"]).values()) == 1
            assert frame["predicted_at"].dt.strftime("%Y-%m-%d").eq(day).all()
            for name, x in zip(frame["prediction_id"], frame["x"], strict=True):
                kept[day, name] = None if x is None or np.isnan(x) else int(x)
        assert kept == acknowledged
        assert list(logs.log_dir.glob("*.ndjson")) == []
        before = logs.files()
        compact(logs.store, logs.log_dir, "churn")
        assert logs.files() == before


def test_whole_numbers_are_numbers_too(logs: Any) -> None:
    logs.write([[*row("a")[:6], 1, [0, 1], 2, [3]], [*row("b")[:6], 0.5, None, 2.5, [4]]])
    assert compact(logs.store, logs.log_dir, "churn").new == 2
    frame = day_rows(logs.store, "churn", DAY)
    assert frame[["score", "latency_ms", "x"]].to_dict("list") == {
        "score": [1.0, 0.5],
        "latency_ms": [2.0, 2.5],
        "x": [3, 4],
    }


def test_the_ids_of_a_day_are_where_the_servers_look(logs: Any) -> None:
    names = ["a", 'a "quoted" id', "ä\u0001"]
    logs.write([row(name) for name in names])
    compact(logs.store, logs.log_dir, "churn")
    expected = np.sort(hashes(name.encode() for name in names)).tobytes()
    assert (in_log(logs), indexes(logs)) == ([], {f"{DAY}.u64": expected})
    assert KnownIds(logs.log_dir).unknown([*names, "b"]) == ["b"]


def test_an_index_that_was_not_written_is_written_next_time(logs: Any) -> None:
    logs.write([row("a")])
    logs.write([row("b")], pid=os.getpid())
    compact(logs.store, logs.log_dir, "churn")
    whole = indexes(logs)
    path = logs.log_dir / "ids" / f"{DAY}.u64"
    path.write_bytes(path.read_bytes()[:8])
    compact(logs.store, logs.log_dir, "churn")
    assert indexes(logs) == whole


def test_days_from_before_there_was_an_index_get_one(logs: Any) -> None:
    logs.write([row("a"), row("b", NEXT)])
    compact(logs.store, logs.log_dir, "churn")
    whole = indexes(logs)
    shutil.rmtree(logs.log_dir / "ids")
    assert compact(logs.store, logs.log_dir, "churn") == Compacted()
    assert indexes(logs) == whole


def test_an_index_that_cannot_be_written_keeps_the_segment(logs: Any) -> None:
    path = logs.write([row("a")])
    (logs.log_dir / "ids").write_text("a file stands where the folder should")
    with pytest.raises(StoreError, match=r"2026-03-01\.u64 cannot be written: .*stay in the log"):
        compact(logs.store, logs.log_dir, "churn")
    assert path.exists()
    (logs.log_dir / "ids").unlink()
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 1}, 0, 0, 0)
    assert KnownIds(logs.log_dir).unknown(["a"]) == []


BEFORE, AFTER = row("a", DAY, [1], time="23:50"), row("a", NEXT, [1], time="00:10")


@pytest.mark.parametrize(("first", "second"), [(BEFORE, AFTER), (AFTER, BEFORE)])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_request_sent_again_over_midnight_counts_once(
    logs: Any, first: Any, second: Any, indexed: bool
) -> None:
    logs.write([first])
    compact(logs.store, logs.log_dir, "churn")
    if not indexed:
        shutil.rmtree(logs.log_dir / "ids")
    other = row("b", second[3][:10], [2], time=second[3][11:16])
    logs.write([second, other])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({second[3][:10]: 1}, 1, 1, 0)
    assert list(day_rows(logs.store, "churn", first[3][:10])["prediction_id"]) == ["a"]
    assert list(day_rows(logs.store, "churn", second[3][:10])["prediction_id"]) == ["b"]


def test_of_one_compaction_the_day_before_midnight_keeps_the_row(logs: Any) -> None:
    logs.write([AFTER, BEFORE])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 1, NEXT: 0}, 1, 1, 0)
    assert days(logs.store, "churn") == [DAY]


def test_an_id_used_anew_each_day_is_a_row_of_each_day(logs: Any) -> None:
    logs.write([row("customer 7", DAY, time="23:30"), row("customer 7", NEXT, time="00:40")])
    logs.write([row("customer 8", DAY, time="02:00"), row("customer 8", NEXT, time="02:00")])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 2, NEXT: 2}, 4, 0, 0)


def test_a_hash_that_collides_drops_no_row(logs: Any) -> None:
    logs.write([BEFORE])
    compact(logs.store, logs.log_dir, "churn")
    index = logs.log_dir / "ids" / f"{DAY}.u64"
    index.write_bytes(np.sort(hashes([b"a", b"b"])).tobytes())
    logs.write([row("b", NEXT, time="00:10")])
    assert compact(logs.store, logs.log_dir, "churn").new == 1


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_have_no_neighbour(logs: Any, day: str) -> None:
    logs.write([row("a", day, time="00:00"), row("b", day, time="23:59")])
    assert compact(logs.store, logs.log_dir, "churn").new == 2


def test_kept_errors_stay_as_they_are(logs: Any) -> None:
    at = f"{DAY}T12:00:00.000000Z"
    error = ["e1", "r1", None, 0, 1, at, "ValueError", "d" * 16, 1, ["a.py:1 f"], [1.5]]
    path = logs.write([error], kind="errors")
    before = path.read_bytes()
    logs.write([row("a")])
    assert compact(logs.store, logs.log_dir, "churn") == Compacted({DAY: 1}, 1, 0, 0)
    assert (in_log(logs), path.read_bytes()) == ([path], before)
    assert KnownIds(logs.log_dir).unknown(["e1"]) == ["e1"]


def test_the_key_of_a_day(tmp_path: Any) -> None:
    assert day_key("churn", DAY) == "predictions/churn/2026-03-01.parquet"
    assert days(Store(str(tmp_path)), "churn") == []
