from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.serve.ids import uuid7
from mlops_pipelines.serve.log import LogError, SegmentWriter
from mlops_pipelines.serve.segment_file import SegmentFile, sweep
from mlops_pipelines.serve.segments import LabelRow, Prediction, read_segments

HEADER = {"schema": 1, "kind": "predictions", "model": "m", "columns": ["a", "b"]}
TIME = "2026-03-01T12:00:00.000000Z"


def row(number: int, features: list[object] | None = None) -> Prediction:
    features = [number / 3, None] if features is None else features
    return Prediction(f"p{number}", "r", 0, TIME, TIME, 1, 0.25, [0.75, 0.25], 0.5, features)


def lines(*rows: Prediction | LabelRow) -> bytes:
    return b"".join(orjson.dumps(tuple(one)) + b"\n" for one in rows)


def locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def write(writer: SegmentWriter, rows: Sequence[Prediction | LabelRow]) -> None:
    asyncio.run(writer.append_and_wait(lines(*rows)))


@pytest.mark.parametrize("fsync", [True, False])
def test_what_is_written_is_read(tmp_path: Path, fsync: bool) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER, fsync)
    write(writer, [row(1), row(2)])
    write(writer, [row(3)])
    (segment,) = read_segments(tmp_path, "predictions")
    assert (segment.header, segment.rows, segment.corrupt) == (HEADER, [row(1), row(2), row(3)], 0)
    assert writer.bytes_written == segment.path.stat().st_size
    writer.close()


def test_a_segment_is_locked_until_its_writer_lets_go_of_it(tmp_path: Path) -> None:
    first, second = (SegmentWriter(tmp_path, "m-v1", HEADER, fsync=False) for _ in range(2))
    write(first, [row(1)])
    write(second, [row(2)])
    paths = sorted(tmp_path.iterdir(), key=lambda path: b"p2" in path.read_bytes())
    # In containers every writer is process 1: a name must be of one writer alone all the same.
    assert [path.name.count(f"-{os.getpid()}.") for path in paths] == [1, 1]
    assert [locked(path) for path in paths] == [True, True]
    first.close()
    assert [locked(path) for path in paths] == [False, True]
    second.close()


def test_a_writer_that_is_killed_lets_go_of_its_segment(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys, time
from pathlib import Path
from mlops_pipelines.serve.log import SegmentWriter
writer = SegmentWriter(Path({str(tmp_path)!r}), "m-v1", {{"schema": 1, "kind": "predictions"}})
asyncio.run(writer.append_and_wait(b"[1]\\n"))
print("kept", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"kept\n"
        (path,) = tmp_path.iterdir()
        assert locked(path)
        process.kill()
    assert not locked(path)


def test_labels_are_segments_of_their_own(tmp_path: Path) -> None:
    labels = SegmentWriter(tmp_path, "labels-m-v1", {"schema": 1, "kind": "labels"})
    truth = LabelRow("p1", "yes", None, TIME)
    write(labels, [truth])
    assert [segment.rows for segment in read_segments(tmp_path, "labels")] == [[truth]]
    assert list(read_segments(tmp_path, "predictions")) == []
    labels.close()


def test_a_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER, rotate_bytes=500)
    rows = [row(number) for number in range(20)]
    for one in rows:
        write(writer, [one])
    writer.close()
    segments = list(read_segments(tmp_path, "predictions"))
    assert len(segments) > 3
    assert [found for segment in segments for found in segment.rows] == rows
    assert all(segment.path.stat().st_size <= 500 for segment in segments)
    assert writer.bytes_written == sum(segment.path.stat().st_size for segment in segments)


def test_more_than_a_segment_at_once_is_still_one_write(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER, rotate_bytes=200)
    rows = [row(number) for number in range(20)]
    write(writer, rows)
    writer.close()
    assert [segment.rows for segment in read_segments(tmp_path, "predictions")] == [rows]


def test_concurrent_requests_do_not_mix(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER, rotate_bytes=2000)

    async def many() -> None:
        await asyncio.gather(*(writer.append_and_wait(lines(row(n), row(n))) for n in range(100)))

    asyncio.run(many())
    writer.close()
    found = [r for segment in read_segments(tmp_path, "predictions") for r in segment.rows]
    assert found == [row(n) for n in range(100) for _ in range(2)]


def test_requests_that_keep_coming_share_their_syncs(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER)
    kept: list[LogError | None] = []

    async def come() -> None:
        for turn in range(4):
            for number in range(9):
                writer.append(lines(row(10 * turn + number)), kept.append)
            assert turn or not kept, "none is acknowledged before its sync"
            await asyncio.sleep(0)
        for number in (9, 19, 29, 39):
            await writer.append_and_wait(lines(row(number)))
            kept.append(None)

    asyncio.run(come())
    assert kept == [None] * 40
    assert 4 <= writer.syncs <= 8
    writer.close()
    found = [r for segment in read_segments(tmp_path, "predictions") for r in segment.rows]
    assert sorted(found) == sorted(row(number) for number in range(40))


def test_rows_take_the_place_of_zeros_that_were_laid_out(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER, room=4096)
    write(writer, [row(1), row(2)])
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == 4096
    assert path.read_bytes().rstrip(b"\0").endswith(lines(row(2)))
    for most in (None, 1):
        parts = list(read_segments(tmp_path, "predictions", most))
        assert [one for part in parts for one in part.rows] == [row(1), row(2)]
        assert sum(part.corrupt for part in parts) == 0
    writer.close()
    assert path.stat().st_size == writer.bytes_written == len(path.read_bytes().rstrip(b"\0"))


def test_the_rows_of_a_killed_writer_end_where_the_zeros_begin(tmp_path: Path) -> None:
    text = orjson.dumps(HEADER) + b"\n" + lines(row(1), row(2))
    for zeros in (1, 7, 4096, 100_000):
        (tmp_path / "m-v1-1-1.ndjson").write_bytes(text + bytes(zeros))
        (segment,) = read_segments(tmp_path, "predictions")
        assert (segment.rows, segment.corrupt) == ([row(1), row(2)], 0)
        (tmp_path / "m-v1-1-1.ndjson").write_bytes(text[:-3] + bytes(zeros))
        (segment,) = read_segments(tmp_path, "predictions")
        assert (segment.rows, segment.corrupt) == ([row(1)], 0)


def test_segments_with_room_follow_each_other_in_order_and_grow(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER, rotate_bytes=16_384, room=1024)
    rows = [row(number) for number in range(400)]
    sizes = set()
    for one in rows:
        write(writer, [one])
        sizes |= {path.stat().st_size for path in tmp_path.glob("*.ndjson")}
    assert {1024, 4096, 16_384} <= sizes
    writer.close()
    segments = list(read_segments(tmp_path, "predictions"))
    assert [one for segment in segments for one in segment.rows] == rows
    assert not list(tmp_path.glob(".*")), "what was laid out ahead is removed"
    assert writer.bytes_written == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_room_that_does_not_fit_on_the_disk_is_done_without(tmp_path: Path) -> None:
    code = f"""
import asyncio, resource, signal
from pathlib import Path
from mlops_pipelines.serve.log import LogError, SegmentWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
writer = SegmentWriter(Path({str(tmp_path)!r}), "m", {HEADER!r}, rotate_bytes=100_000, room=8192)
kept = 0
try:
    while True:
        asyncio.run(writer.append_and_wait({lines(row(1))!r}))
        kept += 1
except LogError as error:
    print(kept, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, _, said = done.stdout.partition(" ")
    assert "cannot be written" in said
    assert 3000 // len(lines(row(1))) - 2 <= int(kept) <= 3000 // len(lines(row(1)))
    (segment,) = read_segments(tmp_path, "predictions")
    assert (segment.rows, segment.corrupt) == ([row(1)] * int(kept), 0)


def test_what_a_killed_writer_had_laid_out_is_swept_away(tmp_path: Path) -> None:
    held = SegmentFile(tmp_path, b"{}\n", 100)
    old, young = tmp_path / ".0a.new", tmp_path / ".0b.new"
    for path in (old, young):
        path.write_bytes(bytes(10))
    for path in tmp_path.glob(".*.new"):
        if path != young:
            os.utime(path, (0, 0))
    sweep(tmp_path)
    assert not old.exists()
    assert len(list(tmp_path.glob(".*.new"))) == 2, "one is young, one has a writer"
    held.discard()


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER)
    write(writer, [row(1), row(2)])
    writer.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    (segment,) = read_segments(tmp_path, "predictions")
    assert (segment.rows, segment.corrupt) == ([row(1)], 0)


@pytest.mark.parametrize("line", [b"", b"\x00\x00", b"{}", b"[1, 2]", b'["half'])
def test_a_corrupt_line_among_others_is_counted(tmp_path: Path, line: bytes) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER)
    write(writer, [row(1)])
    write(writer, [row(2)])
    writer.close()
    (path,) = tmp_path.iterdir()
    head, first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([head, first, line, second, b""]))
    (segment,) = read_segments(tmp_path, "predictions")
    assert (segment.rows, segment.corrupt) == ([row(1), row(2)], 1)


def test_a_row_of_another_width_is_corrupt(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER)
    write(writer, [row(1), row(2, features=[1.0])])
    writer.close()
    (segment,) = read_segments(tmp_path, "predictions")
    assert (segment.rows, segment.corrupt) == ([row(1)], 1)


@pytest.mark.parametrize("text", ["", '{"schema": 1, "kind"', "nonsense\n", '{"schema": 9}\n'])
def test_a_segment_without_a_readable_header_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "m-v1-1-1.ndjson").write_text(text)
    assert list(read_segments(tmp_path, "predictions")) == []


def test_a_folder_that_cannot_be_written_is_a_log_error_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    writer = SegmentWriter(folder, "m-v1", HEADER)
    write(writer, [row(1)])
    folder.rename(tmp_path / "old")
    for path in (tmp_path / "old").iterdir():
        path.unlink()
    folder.write_text("a file where the folder was")
    with pytest.raises(LogError, match="log cannot be written: File exists"):
        write(writer, [row(2)])
    with pytest.raises(LogError):
        writer.check()
    folder.unlink()
    writer.check()
    write(writer, [row(3)])
    writer.close()
    assert [segment.rows for segment in read_segments(folder, "predictions")] == [[row(3)]]


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=2))
def test_floats_survive_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, features: list[float | None]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    header = HEADER | {"columns": [str(index) for index in range(len(features))]}
    writer = SegmentWriter(folder, "m-v1", header, fsync=False)
    write(writer, [row(1, features)])
    writer.close()
    (segment,) = read_segments(folder, "predictions")
    assert [v if v is None else v.hex() for v in segment.rows[0].features] == [
        v if v is None else v.hex() for v in features
    ]


def test_a_uuid7_is_one_and_sorts_by_time() -> None:
    before = time.time_ns() // 1_000_000
    first = uuid.UUID(uuid7())
    time.sleep(0.002)
    second = uuid.UUID(uuid7())
    assert (first.version, first.variant) == (7, uuid.RFC_4122)
    assert before <= first.int >> 80 <= time.time_ns() // 1_000_000
    assert first < second
    assert len({uuid7() for _ in range(1000)}) == 1000
