"""No id of an answered row is ever called unknown, however the log is written and compacted."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.serve.known import IDS, KnownIds, hashes, known_in

HEADER = orjson.dumps({"schema": 1, "kind": "predictions", "columns": ["x"]}) + b"\n"


def line(name: str) -> bytes:
    return orjson.dumps([name, "r", 0, "t", "t", 1, 0.5, None, 1.0, [0.5]]) + b"\n"


def index(folder: Path, day: str, names: list[str]) -> Path:
    (folder / IDS).mkdir(parents=True, exist_ok=True)
    path = folder / IDS / f"{day}.u64"
    path.write_bytes(np.unique(hashes(name.encode() for name in names)).tobytes())
    return path


def test_hashes_are_the_same_in_every_process() -> None:
    assert hashes([b"a", "ä".encode(), b""]).tolist() == [
        0x2F42665B399EF840,
        0x39A02B5EE2BB4DF0,
        0xB4B2797457A0A6E4,
    ]


def test_without_a_folder_all_are_unknown_each_once(tmp_path: Path) -> None:
    assert KnownIds(tmp_path / "log").unknown(["b", "a", "b"]) == ["b", "a"]
    assert KnownIds(tmp_path).unknown([]) == []


def test_rows_are_known_from_the_moment_that_their_line_ends(tmp_path: Path) -> None:
    known = KnownIds(tmp_path)
    path = tmp_path / "m-v1-1-1.ndjson"
    path.write_bytes(HEADER[:9])
    assert known.unknown(["a"]) == ["a"]
    path.write_bytes(HEADER + line("a") + line("b")[:-1])
    assert known.unknown(["a", "b"]) == ["b"]
    with path.open("ab") as file:
        file.write(b"\n" + line("c"))
    assert known.unknown(["c", "b", "a", "d"]) == ["d"]


def test_rows_that_take_the_place_of_zeros_become_known(tmp_path: Path) -> None:
    known = KnownIds(tmp_path)
    path = tmp_path / "m-v1-1-1.ndjson"
    path.write_bytes(HEADER + line("a") + line("b")[:-1] + bytes(5000))
    assert known.unknown(["a", "b"]) == ["b"]
    path.write_bytes(HEADER + line("a") + line("b") + line("c") + bytes(4000))
    assert known.unknown(["c", "b", "a", "d"]) == ["d"]


@pytest.mark.parametrize(
    "name", ['"', "\\", 'say "a"', "back\\slash", "line\nline", "\u0001", "ä€😀", "a" * 128, '["']
)
def test_any_id_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "m-v1-1-1.ndjson").write_bytes(HEADER + line(name) + b"corrupt\n" + line("z"))
    assert KnownIds(tmp_path).unknown([name, "z", name + "x"]) == [name + "x"]


def test_what_is_no_row_of_the_log_makes_nothing_known(tmp_path: Path) -> None:
    other = orjson.dumps({"schema": 1, "kind": "labels"}) + b"\n"
    (tmp_path / "labels-m-v1-1-1.ndjson").write_bytes(other + line("a"))
    (tmp_path / "notes.ndjson").write_bytes(b"hello\n" + line("a"))
    (tmp_path / "m-v1-1-1.ndjson").write_bytes(
        HEADER + b'{"a": 1}\n\n["\n["\\\n["\\u0061\n[1, "a"]\n' + line("b")
    )
    (tmp_path / "m-v1-1-1.corrupt").write_bytes(HEADER + line("a"))
    known = KnownIds(tmp_path)
    assert known.unknown(["a", "b"]) == ["a"]
    assert known.unknown(["a", "b"]) == ["a"]


def test_ids_that_were_moved_out_of_the_log_stay_known(tmp_path: Path) -> None:
    known = KnownIds(tmp_path)
    path = tmp_path / "m-v1-1-1.ndjson"
    path.write_bytes(HEADER + line("a") + line("b"))
    assert known.unknown(["a", "b", "c", "old"]) == ["c", "old"]
    index(tmp_path, "2026-03-01", ["a", "b"])
    path.unlink()
    index(tmp_path, "2020-01-01", ["old"])
    assert known.unknown(["a", "b", "c", "old"]) == ["c"]
    (tmp_path / "m-v1-2-1.ndjson").write_bytes(HEADER + line("c"))
    assert known.unknown(["a", "b", "c", "old"]) == []
    (tmp_path / IDS / "2026-03-01.u64").unlink()
    assert known.unknown(["a"]) == ["a"], "a segment that is gone keeps no memory"


def test_an_index_is_searched_whole(tmp_path: Path) -> None:
    names = [f"id {number}" for number in range(1000)]
    path = index(tmp_path, "2026-03-01", names)
    asked = hashes(name.encode() for name in [*names, "x", "y"])
    assert known_in(path, asked).tolist() == [True] * 1000 + [False] * 2
    path.write_bytes(b"")
    assert not known_in(path, asked).any()


def test_lines_longer_than_a_read_are_whole(tmp_path: Path) -> None:
    long = orjson.dumps(["long", "x" * 3_000_000]) + b"\n"
    rows = b"".join(line(f"{number}") for number in range(20_000))
    (tmp_path / "m-v1-1-1.ndjson").write_bytes(HEADER + rows + long + rows + line("last"))
    known = KnownIds(tmp_path)
    assert known.unknown([*map(str, range(20_000)), "long", "last", "none"]) == ["none"]


def test_rows_are_found_while_writers_append_and_compaction_moves_them(tmp_path: Path) -> None:
    known = KnownIds(tmp_path)
    wrong: list[str] = []
    written: list[list[str]] = [[], []]

    def write(worker: int) -> None:
        for segment in range(12):
            path = tmp_path / f"m-v1-{segment}-{worker}.ndjson"
            names = [f"{worker}-{segment}-{row}" for row in range(60)]
            with path.open("ab", buffering=0) as file:
                file.write(HEADER)
                for name in names:
                    whole = line(name)
                    file.write(whole[:7])
                    file.write(whole[7:])
                    written[worker].append(name)
            index(tmp_path, f"{worker}-{segment}", names)
            path.unlink()

    def ask() -> None:
        while any(thread.is_alive() for thread in writers):
            names = [name for of_worker in written for name in of_worker[-300:]]
            wrong.extend(known.unknown(names))

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(2)]
    askers = [threading.Thread(target=ask) for _ in range(2)]
    for thread in (*writers, *askers):
        thread.start()
    for thread in (*writers, *askers):
        thread.join()
    assert wrong == []
    assert known.unknown([name for of_worker in written for name in of_worker]) == []


NAMES = st.text(max_size=8).filter(bool)
EVENT = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 2), st.lists(NAMES, max_size=5)),
    st.tuples(st.just("half"), st.integers(0, 2), st.lists(NAMES, min_size=1, max_size=1)),
    st.tuples(st.just("compact"), st.integers(0, 2), st.just([])),
    st.tuples(st.just("ask"), st.just(0), st.lists(NAMES, max_size=5)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, max_size=20))
def test_unknown_is_what_was_never_written(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    known = KnownIds(folder)
    segments: dict[int, list[str]] = {}
    generation = [0, 0, 0]
    ever: set[str] = set()
    for number, (what, place, names) in enumerate([*events, ("ask", 0, ["x"])]):
        path = folder / f"m-v1-{generation[place]}-{place}.ndjson"
        if what == "append":
            lines = b"".join(map(line, names))
            # What follows half a line is not a row: a writer begins a new file.
            if not path.exists() or path.read_bytes().endswith(b"\n"):
                path.write_bytes((path.read_bytes() if path.exists() else HEADER) + lines)
                segments.setdefault(place, []).extend(names)
                ever |= set(names)
        elif what == "half" and path.exists():
            with path.open("ab") as file:
                file.write(line(names[0])[:-1])
        elif what == "compact" and path.exists():
            index(folder, f"{number}", segments.pop(place))
            path.unlink()
            generation[place] += 1
        elif what == "ask":
            asked = [*names, *sorted(ever)[:3]]
            expected = [name for name in dict.fromkeys(asked) if name not in ever]
            assert known.unknown(asked) == expected
    shutil.rmtree(folder)


def test_an_open_file_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "m-v1-1-1.ndjson").write_bytes(HEADER + line("a"))
    for day in range(20):
        index(tmp_path, f"{day}", ["b"])
    known = KnownIds(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    known.unknown(["a", "b", "c"])
    assert len(os.listdir("/proc/self/fd")) == before
