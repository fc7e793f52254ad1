"""A table is its rows: what the checks of single values say of them, to the last bit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.bundle import Column
from mlops_pipelines.serve.ids import many_uuid7
from mlops_pipelines.serve.known import KnownIds
from mlops_pipelines.serve.predictor import Predictor
from mlops_pipelines.serve.protocol import TableParser
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.segments import read_segments
from mlops_pipelines.serve.signature import BadRequest, RowChecker
from mlops_pipelines.serve.table import MANY_ROWS, Table, TableReader
from mlops_pipelines.serve.table_record import table_line

NUMBERS = (
    Column("a", "double", False),
    Column("b", "double", True),
    Column("c", "long", False),
    Column("d", "long", True),
)
MIXED = (
    Column("a", "double", False),
    Column("plan", "string", True, ("gold", "basic")),
    Column("n", "long", True),
    Column("free", "string", False),
    Column("yes", "boolean", True),
)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
LONGS = st.integers(-(1 << 53) - 2, (1 << 53) + 2)
GOOD = {
    "double": st.floats(-3e38, 3e38) | LONGS,
    "long": st.integers(-1000, 1000) | st.integers(-5, 5).map(float),
    "string": st.sampled_from(["gold", "basic"]),
    "boolean": st.booleans(),
}
ANY = st.none() | DOUBLES | LONGS | st.booleans() | st.sampled_from(["gold", "1.5", "", [1.0], {}])


@st.composite
def rows_of(draw: Any, columns: Sequence[Column]) -> list[list[Any]]:
    def value(column: Column) -> Any:
        good = GOOD[column.type]
        return draw(st.none() | good if column.nullable else good)

    rows = [[value(column) for column in columns] for _ in range(draw(st.integers(1, 5)))]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        row = draw(st.integers(0, len(rows) - 1))
        rows[row][draw(st.integers(0, len(columns) - 1))] = draw(ANY)
    return rows


def exact(rows: list[list[Any]]) -> list[list[tuple[type, str]]]:
    return [[(type(value), repr(value)) for value in row] for row in rows]


@pytest.mark.parametrize("columns", [NUMBERS, MIXED, NUMBERS[:1]])
@given(data=st.data())
@settings(max_examples=300)
def test_a_table_holds_what_its_rows_are_checked_to(columns: Any, data: Any) -> None:
    rows = data.draw(rows_of(columns))
    may = any(type(value) is bool for row in rows for value in row)
    for booleans in {True, may}:
        table = TableReader(columns).from_rows(rows, booleans)
        try:
            checked = RowChecker(columns).check([list(row) for row in rows])
        except BadRequest:
            assert table is None
        else:
            if table is not None:
                assert exact(table.rows()) == exact(checked)
                assert table.n == len(rows)


@pytest.mark.parametrize("columns", [NUMBERS, MIXED])
def test_good_rows_are_a_table(columns: Sequence[Column]) -> None:
    one = {"double": 0.1, "long": 7, "string": "gold", "boolean": True}
    rows = [[one[c.type] for c in columns], [None if c.nullable else one[c.type] for c in columns]]
    table = TableReader(columns).from_rows(rows)
    assert table is not None
    assert exact(table.rows()) == exact(rows)


@given(rows_of(MIXED))
def test_a_table_is_logged_and_read_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]]
) -> None:
    table = TableReader(MIXED).from_rows(rows)
    if table is None:
        return
    n = len(rows)
    ids = [f'"{i}\\' for i in range(n)]
    answered = Answered([i % 2 for i in range(n)], [0.1 * i for i in range(n)], None, ids)
    line = table_line("r", ("about", "logged"), 1.5, table, answered)
    folder = tmp_path_factory.mktemp("log")
    header = {"schema": 2, "kind": "predictions", "columns": [c.name for c in MIXED]}
    single = orjson.dumps(["s", "r", 0, "t", "t", 1, 0.5, None, 1.0, [None] * 5]) + b"\n"
    path = folder / "m-v1-1-1.ndjson"
    path.write_bytes(orjson.dumps(header) + b"\n" + single + line + single + line[:-1])
    for most in (None, 1, 2, 100):
        parts = list(read_segments(folder, "predictions", most))
        assert all(most is None or len(part.rows) <= most for part in parts)
        found = [row for part in parts for row in part.rows]
        assert sum(part.corrupt for part in parts) == 0
        assert [row.prediction_id for row in found] == ["s", *ids, "s"]
        assert exact([row.features for row in found[1:-1]]) == exact(table.rows())
        wanted = [("r", i, "about", "logged", i % 2, 0.1 * i, None, 1.5) for i in range(n)]
        assert [tuple(row[1:-1]) for row in found[1:-1]] == wanted
    assert KnownIds(folder).unknown([*ids, "s", "x"]) == ["x"]


@pytest.mark.parametrize(
    "damage",
    [
        {"ids": ["a"]},
        {"predictions": [1]},
        {"numbers": "AAAA"},
        {"numbers": "not base64"},
        {"others": [[0, ["x"]]]},
        {"whole": None},
        {"latency_ms": ...},
    ],
)
def test_a_damaged_table_is_one_corrupt_line(tmp_path: Path, damage: dict[str, Any]) -> None:
    table = Table(np.zeros((2, 3)), {}, ())
    line = table_line("r", ("t", "t"), 1.0, table, Answered([0, 1], None, None, ["a", "b"]))
    record = orjson.loads(line) | damage
    record = {key: value for key, value in record.items() if value is not ...}
    header = {"schema": 2, "kind": "predictions", "columns": ["x", "y", "z"]}
    path = tmp_path / "m-v1-1-1.ndjson"
    path.write_bytes(orjson.dumps(header) + b"\n" + line + orjson.dumps(record) + b"\n")
    (segment,) = read_segments(tmp_path, "predictions")
    assert ([row.prediction_id for row in segment.rows], segment.corrupt) == (["a", "b"], 1)


@pytest.mark.parametrize("form", ["rows", "columns", "records"])
@pytest.mark.parametrize("wrong", [True, "1.5", None, [1.0], 1e39, {"x": 1}])
def test_a_mistake_among_many_rows_is_told(form: str, wrong: Any) -> None:
    columns = (Column("a", "double", False), Column("b", "double", False))
    rows: list[list[Any]] = [[float(i), 0.5] for i in range(2 * MANY_ROWS)]
    rows[MANY_ROWS][1] = wrong
    tables = {
        "rows": {"inputs": rows},
        "columns": {"inputs": {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}},
        "records": {"instances": [{"a": row[0], "b": row[1]} for row in rows]},
    }
    parser = TableParser(columns)
    with pytest.raises(BadRequest, match=f'row {MANY_ROWS}, column "b": expected a finite number'):
        parser.parse(orjson.dumps(tables[form]), "application/json")
    rows[MANY_ROWS][1] = 2
    good = parser.parse(orjson.dumps({"inputs": rows}), "application/json")
    assert good.table is not None
    assert good == Rows([[float(a), float(b)] for a, b in rows])


@pytest.mark.parametrize(
    ("kind", "onnx"),
    [
        ("cancer", True),
        ("diabetes", True),
        ("wine", True),
        ("cancer", False),
        ("diabetes", False),
        ("wine", False),
        ("mixed", False),
        ("fragile", False),
    ],
)
def test_a_table_is_answered_as_its_rows_are(
    bundles: Any, onnx_bundles: dict[str, Path], kind: str, onnx: bool
) -> None:
    bundle = onnx_bundles[kind] if onnx else getattr(bundles, kind)
    predictor = Predictor.load(bundle)
    golden: list[list[Any]] = orjson.loads((bundle / "golden.json").read_bytes())["rows"]
    rows = (golden * (101 // len(golden) + 1))[:101]
    table = TableReader(predictor.meta.columns).from_rows(rows)
    assert table is not None
    assert predictor.predict_table(table) == predictor.predict_rows(table.rows())


def test_many_ids_are_uuid7_and_unlike_each_other() -> None:
    before = time.time_ns() // 1_000_000
    texts = many_uuid7(2000)
    found = [uuid.UUID(each) for each in texts]
    assert [str(each) for each in found] == texts
    assert {(each.version, each.variant) for each in found} == {(7, uuid.RFC_4122)}
    assert len(set(found)) == 2000
    (at,) = {each.int >> 80 for each in found}
    assert before <= at <= time.time_ns() // 1_000_000
