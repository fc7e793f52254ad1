"""A segment read in parts is the segment read whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.serve.segments import read_segments

HEADER = orjson.dumps({"schema": 1, "kind": "labels"})
LINE = st.sampled_from([b'["a",1,null,"t"]', b'["b",2,null,"t"]', b"corrupt", b"[1]", b""])


@given(st.lists(LINE, max_size=9), st.sampled_from([b"", b'["half', b'["a",1,null,"t"]']))
def test_parts_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], end: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    path = folder / "labels-m-v1-1-1.ndjson"
    path.write_bytes(b"".join(each + b"\n" for each in [HEADER, *lines]) + end)
    (whole,) = read_segments(folder, "labels")
    good = [tuple(orjson.loads(line)) for line in lines if line.startswith(b'["')]
    assert ([tuple(row) for row in whole.rows], whole.corrupt) == (good, len(lines) - len(good))
    for most in (1, 2, 3, 100):
        parts: list[Any] = list(read_segments(folder, "labels", most))
        assert parts, "a segment without a row is a segment all the same"
        assert [row for part in parts for row in part.rows] == whole.rows
        assert sum(part.corrupt for part in parts) == whole.corrupt
        assert all(len(part.rows) <= most and part.header == whole.header for part in parts)


def test_a_segment_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "labels-m-v1-1-1.ndjson").write_bytes(HEADER + b'\n["a",1,null,"t"]\n')
    assert list(read_segments(tmp_path, "predictions")) == []
    assert list(read_segments(tmp_path, "errors")) == []
