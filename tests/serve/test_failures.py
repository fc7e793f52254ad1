"""What is kept of a failed request tells where it failed, nothing of the rows' text, and ends."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import orjson
import pytest

from mlops_pipelines.serve.failures import Failure, Tally, error_rows, failure_of
from mlops_pipelines.serve.predictor import ModelError
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.segments import ErrorRow, read_segments

AT = "2026-03-01T12:00:00.000000Z"
CODE = """
def plain(row):
    raise ValueError(f"cannot take {row}")

def other(row):
    raise ValueError(f"cannot take {row} either")

def led_to(row):
    try:
        plain(row)
    except ValueError as error:
        raise KeyError(row) from error

def deep(row, left=40):
    deep(row, left - 1) if left else plain(row)
"""


def load(folder: Path, name: str = "assets.shop.model") -> ModuleType:
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(CODE)
    spec = importlib.util.spec_from_file_location(name, folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def error_of(fail: Callable[[Any], None], row: Any = "123.456") -> ModelError:
    try:
        try:
            fail(row)
        except Exception as exc:
            raise ModelError(type(exc).__name__) from exc
    except ModelError as error:
        return error
    raise AssertionError


def test_a_failure_is_its_frames_and_types_without_text(tmp_path: Path) -> None:
    found = failure_of(error_of(load(tmp_path / "a").plain))
    assert found.kind == "ValueError"
    assert found.frames[-1] == "assets/shop/model.py:3 plain"
    assert found.frames[0].endswith(" error_of")
    assert "123.456" not in repr(found)
    assert str(tmp_path) not in repr(found)


def test_the_digest_is_of_the_place_and_not_of_the_row_or_the_folder(tmp_path: Path) -> None:
    here, there = load(tmp_path / "a"), load(tmp_path / "b")
    digests = [
        failure_of(error_of(here.plain, 1)).digest,
        failure_of(error_of(there.plain, 2)).digest,
        failure_of(error_of(here.other, 1)).digest,
        failure_of(error_of(here.led_to, 1)).digest,
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in digests)


def test_only_the_innermost_frames_of_many_are_kept(tmp_path: Path) -> None:
    found = failure_of(error_of(load(tmp_path / "a").deep))
    assert found.frames == ["assets/shop/model.py:15 deep"] * 15 + ["assets/shop/model.py:3 plain"]


def test_how_the_server_came_to_ask_is_no_part_of_a_failure(tmp_path: Path) -> None:
    ours = load(tmp_path / "a", "mlops_pipelines.serve.predictor")
    theirs = load(tmp_path / "a")
    direct = ModelError("ValueError")
    through = ModelError("ValueError")
    for error, call in ((direct, theirs.plain), (through, lambda row: ours.plain(row))):
        with pytest.raises(ValueError, match="cannot take") as caught:
            call(1)
        error.__cause__ = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # type: ignore[union-attr]
    assert failure_of(direct).frames == ["assets/shop/model.py:3 plain"]
    # All of it is the server's own: then that is where it failed.
    through.__cause__ = through.__cause__.with_traceback(  # type: ignore[union-attr]
        through.__cause__.__traceback__.tb_next  # type: ignore[union-attr]
    )
    assert failure_of(through).frames == ["mlops_pipelines/serve/model.py:3 plain"]


def test_an_error_without_a_cause_is_a_failure_too() -> None:
    assert failure_of(ModelError("WrongShape")) == Failure("WrongShape", "e3b0c44298fc1c14", [])


def rows_of(n: int, fail: Callable[[Any], None], request: str = "r") -> list[ErrorRow]:
    return error_rows(error_of(fail), Rows([[float(i), None] for i in range(n)]), request, None, AT)


def test_the_first_hundred_rows_of_a_request_are_kept(tmp_path: Path) -> None:
    found = rows_of(250, load(tmp_path / "a").plain)
    assert [row.request_row for row in found] == list(range(100))
    assert {row.request_rows for row in found} == {250}
    assert len({row.error_id for row in found}) == 1
    assert [row.features for row in found[:2]] == [[0.0, None], [1.0, None]]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tally, module = Tally(), load(tmp_path / "a")
    header = {"schema": 1, "kind": "errors", "columns": ["a", "b"]}
    requests = [rows_of(2, module.plain), rows_of(1, module.other), rows_of(1, module.plain)]
    lines = b"".join(tally.lines(rows) for rows in requests)
    path = tmp_path / "errors-m-v1-1-1.ndjson"
    path.write_bytes(orjson.dumps(header) + b"\n" + lines + b'["half')
    (segment,) = read_segments(tmp_path, "errors")
    expected = [
        row._replace(failures=n)
        for n, rows in zip((1, 1, 2), requests, strict=True)
        for row in rows
    ]
    assert (segment.header, segment.rows, segment.corrupt) == (header, expected, 0)
    assert list(read_segments(tmp_path, "predictions")) == []


def test_a_crash_loop_fills_no_disk_hides_no_other_failure_and_is_counted(tmp_path: Path) -> None:
    tally, module = Tally(most_bytes=64_000), load(tmp_path / "a")
    loop = b"".join(tally.lines(rows_of(1, module.plain)) for _ in range(5000))
    told = [ErrorRow._make(orjson.loads(line)) for line in loop.splitlines()]
    kept = [row for row in told if row.features is not None]
    assert len(loop) < 64_000
    assert [row.failures for row in kept] == list(range(1, len(kept) + 1))
    assert all(row.features is None for row in told[len(kept) :])
    assert 5000 / 1.1 <= told[-1].failures <= 5000
    other = tally.lines(rows_of(1, module.other))
    assert ErrorRow._make(orjson.loads(other)).features == [0.0, None]


def test_however_many_ways_to_fail_the_bound_holds(tmp_path: Path) -> None:
    tally, (row,) = Tally(most_bytes=64_000), rows_of(1, load(tmp_path / "a").plain)
    lines = [tally.lines([row._replace(digest=f"{number:016x}")]) for number in range(500)]
    assert 60_000 < sum(map(len, lines)) <= 64_000
    assert lines[-1] == b""


def test_rows_too_large_to_keep_are_counted(tmp_path: Path) -> None:
    tally, (row,) = Tally(most_bytes=64_000), rows_of(1, load(tmp_path / "a").plain)
    (line,) = tally.lines([row._replace(features=["x" * 100_000, None])]).splitlines()
    assert ErrorRow._make(orjson.loads(line)) == row._replace(features=None)


def test_no_source_file_is_read_to_tell_a_failure(tmp_path: Path) -> None:
    module = load(tmp_path / "a")
    import linecache

    linecache.clearcache()
    failure_of(error_of(module.plain))
    assert linecache.cache == {}
    assert "assets.shop.model" not in sys.modules


def test_a_worker_keeps_what_its_model_failed_on(bundles: Any, service: Any) -> None:
    process = service.start(bundles.fragile, "--serve")
    service.wait_for(process, state="serving")
    with httpx.Client(base_url=service.url) as client:
        headers = {"x-request-id": "mine"}
        document = {"inputs": [[0.5], [-123.456]]}
        failed = client.post("/invocations", json=document, headers=headers)
        again = client.post("/invocations", json={"inputs": [[-1.0]]})
        assert client.post("/invocations", json={"inputs": [[0.5]]}).status_code == 200
    assert (failed.status_code, again.status_code) == (500, 500)
    (segment,) = read_segments(service.log_dir, "errors")
    assert (segment.header["model_version"], segment.header["columns"]) == (1, ["amount"])
    ids = [response.json()["error_id"] for response in (failed, again)]
    assert [(row.error_id, row.request_row, row.features) for row in segment.rows] == [
        (ids[0], 0, [0.5]),
        (ids[0], 1, [-123.456]),
        (ids[1], 0, [-1.0]),
    ]
    assert [row.failures for row in segment.rows] == [1, 1, 2]
    (digest,) = {row.digest for row in segment.rows}
    assert digest in service.stderr
    assert segment.rows[0].request_id == "mine"
    assert re.fullmatch(r"assets/fragile/pipeline\.py:\d+ transform", segment.rows[0].frames[-1])
    assert len(list(read_segments(service.log_dir, "predictions"))) == 1
