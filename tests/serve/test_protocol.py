from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.serve.bundle import Column
from mlops_pipelines.serve.protocol import TableParser
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.signature import LARGEST_DOUBLE, BadRequest, Limits

COLUMNS = (
    Column("age", "long", False),
    Column("income", "double", True),
    Column("plan", "string", True),
    Column("member", "boolean", False),
)
WANTED = Rows([[31, 1250.5, "gold", True], [45, None, None, False]])
NAMES = [column.name for column in COLUMNS]
DATA = [[31, 1250.5, "gold", True], [45, None, None, False]]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in DATA]


def parsed(document: Any, **limits: int) -> Rows:
    return TableParser(COLUMNS, Limits(**limits)).parse(orjson.dumps(document), "application/json")


def refused(body: bytes, content_type: str = "application/json", **limits: int) -> tuple[int, str]:
    with pytest.raises(BadRequest) as caught:
        TableParser(COLUMNS, Limits(**limits)).parse(body, content_type)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": NAMES, "data": DATA}},
        {"dataframe_split": {"index": [7, 8], "columns": NAMES, "data": DATA}},
        {
            "dataframe_split": {
                "columns": NAMES[::-1],
                "data": [row[::-1] for row in DATA],
            }
        },
        {"dataframe_records": RECORDS},
        {"dataframe_records": [dict(reversed(row.items())) for row in RECORDS]},
        {"inputs": {name: [row[name] for row in RECORDS] for name in NAMES}},
        {"inputs": DATA},
        {"inputs": RECORDS},
        {"instances": DATA},
        {"instances": RECORDS},
    ],
)
def test_every_form_is_the_same_table(document: Any) -> None:
    assert parsed(document) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        "age,income,plan,member\n31,1250.5,gold,true\n45,,,False\n",
        "\ufeffage,income,plan,member\r\n31,1250.5,gold,TRUE\r\n\r\n45,,,false",
        'member,plan,income,age\ntrue,"gold",1.2505e3,31\nfalse,"",,45\n',
    ],
)
def test_csv_is_the_same_table(text: str) -> None:
    assert TableParser(COLUMNS).parse(text.encode(), "text/csv; charset=utf-8") == WANTED


def test_numbers_become_their_columns_type() -> None:
    rows = parsed({"inputs": [[31.0, 7, "a", True], [2**63 - 1, 2**63, "b", True]]})
    assert rows.values == [[31, 7.0, "a", True], [2**63 - 1, 2.0**63, "b", True]]
    assert [[type(value) for value in row] for row in rows.values] == [[int, float, str, bool]] * 2


def test_the_callers_own_ids_are_kept() -> None:
    assert parsed({"inputs": DATA, "prediction_ids": ["a", "b"]}).prediction_ids == ["a", "b"]


ROW = {"age": 31, "income": 1.5, "plan": "gold", "member": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": 3.5}, 'column "age": expected a 64-bit integer, found a number with a fraction'),
        ({"age": "31"}, 'column "age": expected a 64-bit integer, found a string'),
        ({"age": True}, 'column "age": expected a 64-bit integer, found a boolean'),
        ({"age": None}, 'column "age": expected a 64-bit integer, found null'),
        ({"age": 2**63}, 'column "age": expected a 64-bit integer, found a number out of range'),
        ({"age": 1e300}, 'column "age": expected a 64-bit integer, found a number out of range'),
        ({"income": "x"}, 'column "income": expected a finite number or null, found a string'),
        ({"income": [1]}, 'column "income": expected a finite number or null, found an array'),
        ({"plan": 5}, 'column "plan": expected a string or null, found a number'),
        ({"plan": {}}, 'column "plan": expected a string or null, found an object'),
        ({"member": 1}, 'column "member": expected true or false, found a number'),
        ({"member": "true"}, 'column "member": expected true or false, found a string'),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_row_and_column(
    change: dict[str, Any], message: str
) -> None:
    body = orjson.dumps({"dataframe_records": [ROW, ROW | change]})
    assert refused(body) == (400, f"row 1, {message}")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"inputs": {"age": [1], "income": [1.0], "extra": [1], "member": [True]}},
            (
                'column "plan" is missing; unknown column "extra"; '
                'allowed: "age", "income", "plan", "member"'
            ),
        ),
        (
            {"dataframe_records": [ROW, {"age": 3, "income": None, "plan": None}]},
            'row 1, column "member" is missing',
        ),
        (
            {"dataframe_split": {"columns": [*NAMES, "age"], "data": [[1, 1.0, "a", True, 1]]}},
            "a column is named twice",
        ),
        ({"inputs": [[1, 1.0, "a", True], [1]]}, "row 1: 1 values, expected 4"),
        ({"inputs": [[1, 1.0, "a", True], {}]}, "row 1: expected an array of values"),
        ({"instances": [ROW, 5]}, "instances: row 1: expected an object of columns"),
        ({"instances": 5}, "instances: expected an array of at least one row"),
        ({"dataframe_records": []}, "dataframe_records: expected an array of at least one row"),
        (
            {"inputs": {name: [1] * index for index, name in enumerate(NAMES)}},
            "inputs: expected arrays of one length, and at least one row",
        ),
        (
            {"inputs": dict.fromkeys(NAMES, 1)},
            "inputs: expected an array of values for each column",
        ),
        (
            {"dataframe_split": {"columns": NAMES, "data": []}},
            "expected an array of at least one row",
        ),
        (
            {"dataframe_split": {"columns": [1], "data": []}},
            "dataframe_split: columns: expected an array of strings",
        ),
        (
            {"dataframe_split": {"data": DATA}},
            'dataframe_split: expected {"columns": […], "data": [[…], …]}',
        ),
        (
            {"inputs": DATA, "params": {}},
            (
                "expected one of dataframe_split, dataframe_records, inputs, instances, and "
                'prediction_ids if wanted; found "inputs", "params"'
            ),
        ),
        (
            {},
            (
                "expected one of dataframe_split, dataframe_records, inputs, instances, and "
                "prediction_ids if wanted; found nothing"
            ),
        ),
        (
            {"inputs": DATA, "prediction_ids": ["a"]},
            "prediction_ids: expected an array of 2 strings, one per row",
        ),
        (
            {"inputs": DATA, "prediction_ids": ["a", "b" * 129]},
            "prediction_ids: row 1: expected a string of 1 to 128 characters, "
            "none of them a control character",
        ),
        (
            {"inputs": DATA, "prediction_ids": ["a", "a"]},
            "prediction_ids: expected each id once",
        ),
    ],
)
def test_a_table_that_does_not_fit_says_why(document: Any, message: str) -> None:
    assert refused(orjson.dumps(document)) == (400, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "age,income,plan,member\n31,inf,gold,true\n",
            'row 0, column "income": expected a finite number or null, found a number out of range',
        ),
        (
            "age,income,plan,member\n31,nan,gold,true\n",
            'row 0, column "income": expected a finite number or null, found a number out of range',
        ),
        (
            "age,income,plan,member\n3_1,1,gold,yes\n",
            (
                'row 0, column "age": expected a 64-bit integer, found a string; '
                'row 0, column "member": expected true or false, found a string'
            ),
        ),
        ("age,income,plan,member\n31,1.0\n", "row 0: 2 values, expected 4"),
        ("age,income,plan,member\n", "expected an array of at least one row"),
        ("", "expected CSV with a header line"),
        ("age\n" + "x" * 200_000, "the body is not CSV in UTF-8"),
    ],
)
def test_csv_that_does_not_fit_says_why(text: str, message: str) -> None:
    assert refused(text.encode(), "text/csv") == (400, message)


def test_bytes_that_are_no_text_are_no_csv() -> None:
    assert refused(b"\xff\xfe", "text/csv") == (400, "the body is not CSV in UTF-8")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"inputs": [[NaN]]}',
        b'{"inputs": [[Infinity]]}',
        b'{"inputs": [[1e999]]}',
        b'{"inputs": "\\ud800"}',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    status, message = refused(body)
    assert (status, message.startswith("the body is not JSON: ")) == (400, True)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(content_type: str) -> None:
    wanted = (415, "expected the content type application/json or text/csv")
    assert refused(b"{}", content_type) == wanted


def test_too_many_rows_are_refused() -> None:
    for document in ({"inputs": DATA}, {"dataframe_records": RECORDS}):
        body = orjson.dumps(document)
        assert refused(body, rows=1) == (413, "2 rows; at most 1 in one request")


def test_five_mistakes_are_told_and_all_are_counted() -> None:
    status, message = refused(orjson.dumps({"inputs": [["x", "x", 1, 1]] * 3}))
    assert status == 400
    assert message.count("expected") == 5
    assert message.endswith("; and 7 more")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*NAMES, "columns", "data", "x"]), inner, max_size=5)
    ),
    max_leaves=20,
)
forms = ["dataframe_split", "dataframe_records", "inputs", "instances", "prediction_ids", "other"]
tables = st.dictionaries(st.sampled_from(forms), anything, max_size=2)
split = st.fixed_dictionaries(
    {
        "dataframe_split": st.fixed_dictionaries(
            {
                "columns": st.permutations(NAMES),
                "data": st.lists(st.lists(scalars, min_size=3, max_size=4), max_size=4),
            }
        )
    }
)


def assert_rows_or_bad_request(body: bytes, content_type: str) -> None:
    refused: BadRequest | None = None
    try:
        rows = TableParser(COLUMNS).parse(body, content_type)
    except BadRequest as exc:
        refused = exc
    if refused is not None:
        assert refused.status in (400, 413, 415)
        assert "\n" not in str(refused)
        return
    assert rows.n == len(rows.values) > 0
    kinds = {"long": int, "double": float, "string": str, "boolean": bool}
    for row in rows.values:
        for column, value in zip(COLUMNS, row, strict=True):
            assert type(value) is kinds[column.type] or (value is None and column.nullable)
    assert orjson.loads(orjson.dumps(rows.values)) == rows.values


@given(tables | split | anything)
def test_any_json_is_rows_or_a_bad_request(document: Any) -> None:
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    assert_rows_or_bad_request(text, "application/json")


@given(st.binary(max_size=200), st.sampled_from(["application/json", "text/csv", "image/png"]))
def test_any_bytes_are_rows_or_a_bad_request(body: bytes, content_type: str) -> None:
    assert_rows_or_bad_request(body, content_type)


@given(st.lists(st.lists(st.text(max_size=6), min_size=4, max_size=4), max_size=4))
def test_any_csv_is_rows_or_a_bad_request(fields: list[list[str]]) -> None:
    lines = [",".join(NAMES), *(",".join(row) for row in fields)]
    assert_rows_or_bad_request("\n".join(lines).encode(), "text/csv")


@given(st.lists(st.floats(-LARGEST_DOUBLE, LARGEST_DOUBLE), min_size=1, max_size=20))
def test_numbers_are_taken_to_the_last_bit(values: list[float]) -> None:
    column = (Column("x", "double", False),)
    as_json = orjson.dumps({"inputs": {"x": values}})
    as_csv = "\n".join(["x", *map(repr, values)]).encode()
    for body, media in ((as_json, "application/json"), (as_csv, "text/csv")):
        found = [row[0] for row in TableParser(column).parse(body, media).values]
        assert [value.hex() for value in found] == [value.hex() for value in values]


def test_a_column_of_levels_takes_no_other() -> None:
    columns = (Column("plan", "string", True, ("gold", "free")), Column("x", "double", False))
    parser = TableParser(columns)

    def ask(plan: Any) -> list[list[Any]]:
        body = orjson.dumps({"inputs": [["gold", 1.0], [plan, 2.0]]})
        return parser.parse(body, "application/json").values

    assert ask("free") == [["gold", 1.0], ["free", 2.0]]
    assert ask(None) == [["gold", 1.0], [None, 2.0]]
    with pytest.raises(BadRequest) as caught:
        ask("platinum")
    assert (caught.value.status, str(caught.value)) == (
        400,
        'row 1, column "plan": expected one of "gold", "free", found another',
    )
