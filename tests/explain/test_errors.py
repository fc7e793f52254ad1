"""Kept failures are counted by kind, shown one by one, and answered again by a real process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.explain.errors import Again, Failed, Kind, ask_again, failed, kinds
from mlops_pipelines.store import Store
from tests.serve.conftest import write_manifest

DIGEST = "0123456789abcdef"
FRAMES = ["sklearn/pipeline.py:10 predict", "assets/churn/model.py:3 transform"]


def error(
    name: str,
    number: int = 1,
    place: int = 0,
    *,
    day: str = "2026-03-01",
    kind: str = "ValueError",
    digest: str = DIGEST,
    features: Any = (1.5, "a"),
) -> list[Any]:
    at = f"{day}T12:00:00.{number:06}Z"
    kept = None if features is None else list(features)
    return [name, f"r{name}", None, place, 2, at, kind, digest, number, FRAMES, kept]


def segment(
    folder: Path, rows: Sequence[Any], version: int = 1, instance: str = "host-1", at: int = 1
) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"errors-churn-v{version}-{at}-1.ndjson"
    header = {"schema": 1, "kind": "errors", "model": "churn", "model_version": version}
    header |= {"bundle": "b" * 64, "instance": instance, "columns": ["age", "site"]}
    path.write_text("".join(json.dumps(each) + "\n" for each in [header, *rows]))
    return path


def test_no_log_has_no_errors(tmp_path: Path) -> None:
    assert kinds(tmp_path / "log") == []


def test_failures_are_counted_by_kind_and_digest(tmp_path: Path) -> None:
    segment(tmp_path, [error("a"), error("a", place=1), error("b", 2)])
    segment(tmp_path, [error("c", kind="KeyError", digest="f" * 16, day="2026-03-02")], version=2)
    segment(tmp_path, [error("d", day="2026-03-02")], version=3)
    assert kinds(tmp_path) == [
        Kind(
            kind="ValueError",
            digest=DIGEST,
            count=3,
            at_least=False,
            first="2026-03-01T12:00:00.000001Z",
            last="2026-03-02T12:00:00.000001Z",
            versions=(1, 3),
            example="d",
        ),
        Kind(
            kind="KeyError",
            digest="f" * 16,
            count=1,
            at_least=False,
            first="2026-03-02T12:00:00.000001Z",
            last="2026-03-02T12:00:00.000001Z",
            versions=(2,),
            example="c",
        ),
    ]


@pytest.mark.parametrize(
    ("choice", "counts"),
    [
        ({}, {DIGEST: 120, "f" * 16: 1}),
        ({"version": 2}, {"f" * 16: 1}),
        ({"kind": "ValueError"}, {DIGEST: 120}),
        ({"kind": "ValueError", "version": 2}, {}),
        ({"since": "2026-03-02"}, {DIGEST: 118, "f" * 16: 1}),
        ({"since": "2026-03-03"}, {DIGEST: 10, "f" * 16: 1}),
    ],
)
def test_failures_are_chosen_by_version_kind_and_day(
    tmp_path: Path, choice: dict[str, Any], counts: dict[str, int]
) -> None:
    tally = error("t", 110, day="2026-03-02", features=None)
    segment(tmp_path, [error("a"), error("b", 2), tally, error("u", 120, day="2026-03-03")])
    other = error("c", kind="KeyError", digest="f" * 16, day="2026-03-03")
    segment(tmp_path, [other], version=2)
    assert {each.digest: each.count for each in kinds(tmp_path, **choice)} == counts


def test_beyond_what_is_kept_the_count_goes_on_and_says_so(tmp_path: Path) -> None:
    segment(tmp_path, [error("a"), error("t", 50, features=None)])
    (found,) = kinds(tmp_path)
    assert (found.count, found.at_least, found.example) == (50, True, "a")


def test_workers_of_one_name_count_each_for_itself(tmp_path: Path) -> None:
    segment(tmp_path, [error("a"), error("b", 2)], at=1)
    segment(tmp_path, [error("c", 3)], at=2)
    segment(tmp_path, [error("d"), error("e", 2), error("f", 3)], at=3)
    segment(tmp_path, [error("g")], instance="host-2", at=4)
    assert [each.count for each in kinds(tmp_path)] == [7]


def test_one_failure_is_shown_with_the_types_of_its_rows(tmp_path: Path) -> None:
    segment(tmp_path, [error("a"), error("a", place=1, features=[None, "b"]), error("b", 2)])
    found = failed(tmp_path, "churn", "a")
    assert found == Failed(
        error_id="a",
        request_id="ra",
        trace_id=None,
        version=1,
        bundle="b" * 64,
        failed_at="2026-03-01T12:00:00.000001Z",
        kind="ValueError",
        digest=DIGEST,
        frames=tuple(FRAMES),
        request_rows=2,
        columns=("age", "site"),
        rows=((1.5, "a"), (None, "b")),
    )
    assert found.types == {"age": "double, null", "site": "string"}


def test_an_unknown_error_is_one_line(tmp_path: Path) -> None:
    segment(tmp_path, [error("a")])
    with pytest.raises(NotFoundError) as caught:
        failed(tmp_path, "churn", "x")
    assert str(caught.value) == (
        "churn keeps no error x; `mlops errors churn` lists those of each kind. Of many alike not "
        "all are kept"
    )


SERVER = """
import json, sys
rows = json.load(sys.stdin)["rows"]
if {version} == 1 and any(row[0] == 1.5 for row in rows):
    failed = {{"kind": "ValueError", "digest": "0123456789abcdef", "frames": ["a.py:1 f"]}}
    print(json.dumps({{"failed": failed}}))
    sys.exit(3)
if {version} == 2 and any(row[1] == "a" for row in rows):
    print(json.dumps({{"failed": {{"kind": "KeyError", "digest": "f" * 16, "frames": []}}}}))
    sys.exit(3)
if {version} == 3:
    sys.exit("mlops_pipelines.serve: ValueError")
if {version} == 4:
    sys.exit("mlops_pipelines.serve: model.skops was altered")
print(json.dumps({{"predictions": [row[0] for row in rows], "scores": None}}))
"""


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Any, Store]:
    """A registry and a store with bundles whose servers fail each in its own way."""
    store = Store(str(tmp_path / "store"))
    for version in range(1, 7):
        names = ["age", "site"] if version < 5 else ["site", "age"] if version < 6 else ["salary"]
        folder = tmp_path / "store" / "bundles" / "churn" / (f"{version}" * 16)
        package = folder / "code" / "mlops_pipelines" / "serve"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(SERVER.format(version=version))
        columns = [{"name": name, "type": "double", "nullable": True} for name in names]
        said = {"schema": 1, "model": "churn", "version": version, "task": "regression"}
        said |= {"columns": columns, "target": "paid", "classes": None, "positive": None}
        said |= {"trusted_types": [], "run_id": "", "snapshot": ""}
        (folder / "bundle.json").write_text(json.dumps(said))
        write_manifest(folder)

    def version_of(model: str, version: int) -> Any:
        tags = {record.BUNDLE: f"{version}" * 64 if version < 7 else ""}
        return SimpleNamespace(model=model, version=version, tags=tags)

    return SimpleNamespace(version=version_of), store


@pytest.mark.parametrize(
    ("version", "again"),
    [
        (None, Again(1, "fails the same way", "ValueError", DIGEST, ("a.py:1 f",))),
        (1, Again(1, "fails the same way", "ValueError", DIGEST, ("a.py:1 f",))),
        (2, Again(2, "fails otherwise", "KeyError", "f" * 16, ())),
        (3, Again(3, "fails the same way", "ValueError", None, ())),
        (5, Again(5, "answers now", None, None, ())),
    ],
)
def test_the_rows_are_answered_again(
    tmp_path: Path, shop: tuple[Any, Store], version: int | None, again: Again
) -> None:
    segment(tmp_path / "log", [error("a"), error("a", place=1, features=[2.5, "b"])])
    found = failed(tmp_path / "log", "churn", "a")
    assert ask_again(*shop, "churn", found, version) == again


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            4,
            "churn version 4 cannot be asked again: mlops_pipelines.serve: model.skops was altered",
        ),
        (
            6,
            "churn version 6 takes columns that version 1 did not: salary; the rows cannot be "
            "answered by it",
        ),
        (
            7,
            "churn version 7 has no bundle; materialize evaluation and image for it first",
        ),
    ],
)
def test_a_version_that_cannot_be_asked_says_why(
    tmp_path: Path, shop: tuple[Any, Store], version: int, message: str
) -> None:
    segment(tmp_path / "log", [error("a")])
    found = failed(tmp_path / "log", "churn", "a")
    with pytest.raises(ReleaseError) as caught:
        ask_again(*shop, "churn", found, version)
    assert str(caught.value) == message


def test_a_failure_without_rows_cannot_be_answered_again(
    tmp_path: Path, shop: tuple[Any, Store]
) -> None:
    segment(tmp_path / "log", [error("t", 50, features=None)])
    found = failed(tmp_path / "log", "churn", "t")
    assert (found.rows, found.types) == ((), {"age": "", "site": ""})
    with pytest.raises(NotFoundError, match="only the count is kept"):
        ask_again(*shop, "churn", found)
