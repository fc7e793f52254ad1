"""Requests and answers of the Open Inference Protocol, without a server."""

from __future__ import annotations

import copy
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.bundle import Bundle, Column
from mlops_pipelines.serve.predictor import Answer
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.signature import LARGEST_DOUBLE, BadRequest, Limits
from mlops_pipelines.serve.v2 import (
    Infer,
    InferParser,
    infer_response,
    model_metadata,
    outputs_of,
    server_metadata,
)

JSON = "application/json"
BINARY = "application/octet-stream"
OUTPUTS = ("predictions", "scores", "probabilities", "prediction_ids")
MIXED = (
    Column("age", "long", False),
    Column("income", "double", True),
    Column("plan", "string", True),
    Column("member", "boolean", False),
)
NUMBERS = (
    Column("a", "double", False),
    Column("b", "double", True),
    Column("c", "long", True),
)
DOUBLES = (Column("a", "double", False), Column("b", "double", False))
DTYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BOOL": "|b1"} | {
    f"{kind}{bits}": f"<{letter}{bits // 8}"
    for kind, letter in (("INT", "i"), ("UINT", "u"))
    for bits in (8, 16, 32, 64)
}


def bundle_of(*columns: Column, **about: Any) -> Bundle:
    said: dict[str, Any] = {
        "path": Path("bundle"),
        "model": "churn",
        "version": 7,
        "task": "binary_classification",
        "columns": columns,
        "target": "target",
        "classes": ("no", "yes"),
        "positive": "yes",
        "trusted_types": (),
        "run_id": "run",
        "snapshot": "snapshot",
        "digest": "digest",
    }
    return Bundle(**said | about)


def parser(*columns: Column, **limits: int) -> InferParser:
    return InferParser(bundle_of(*columns), OUTPUTS, Limits(**limits))


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def parsed(columns: tuple[Column, ...], *inputs: dict[str, Any], **more: Any) -> Infer:
    body = orjson.dumps({"inputs": list(inputs)} | more)
    return parser(*columns).parse(body, JSON, None)


def rows_of(columns: tuple[Column, ...], *inputs: dict[str, Any]) -> list[list[Any]]:
    return parsed(columns, *inputs).rows.values


def refused(columns: tuple[Column, ...], document: Any, **limits: int) -> tuple[int, str]:
    with pytest.raises(BadRequest) as caught:
        parser(*columns, **limits).parse(orjson.dumps(document), JSON, None)
    return caught.value.status, str(caught.value)


def packed(datatype: str, values: list[Any]) -> bytes:
    if datatype != "BYTES":
        return np.array(values, dtype=DTYPES[datatype]).tobytes()
    texts = [value if isinstance(value, bytes) else value.encode() for value in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def with_binary(*tensors: tuple[str, str, list[int], bytes], **more: Any) -> tuple[bytes, str]:
    """A request in binary form, and its header's length."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": shape}
        | {"parameters": {"binary_data_size": len(raw)}}
        for name, datatype, shape, raw in tensors
    ]
    head = orjson.dumps({"inputs": inputs} | more)
    return head + b"".join(raw for *_, raw in tensors), str(len(head))


def binary_rows(
    columns: tuple[Column, ...], *tensors: tuple[str, str, list[int], bytes]
) -> list[list[Any]]:
    body, length = with_binary(*tensors)
    return parser(*columns).parse(body, BINARY, length).rows.values


def binary_refused(columns: tuple[Column, ...], *tensors: tuple[str, str, list[int], bytes]) -> str:
    body, length = with_binary(*tensors)
    with pytest.raises(BadRequest) as caught:
        parser(*columns).parse(body, BINARY, length)
    assert caught.value.status == 400
    return str(caught.value)


TABLE = [[31, 1250.5, "gold", True], [45, None, None, False]]
COLUMN_FORM = [
    tensor("age", "INT64", [2], [31, 45]),
    tensor("income", "FP64", [2], [1250.5, None]),
    tensor("plan", "BYTES", [2], ["gold", None]),
    tensor("member", "BOOL", [2], [True, False]),
]


def test_a_tensor_for_each_column_is_a_table_in_any_order_flat_or_nested() -> None:
    nested = [
        said | {"shape": [2, 1], "data": [[value] for value in said["data"]]}
        for said in COLUMN_FORM
    ]
    upright = [said | {"shape": [2, 1]} for said in COLUMN_FORM]
    for inputs in (COLUMN_FORM, COLUMN_FORM[::-1], nested, upright):
        assert rows_of(MIXED, *inputs) == TABLE


def test_one_row_is_the_same_by_the_short_way() -> None:
    one = [said | {"shape": [1], "data": said["data"][1:]} for said in COLUMN_FORM]
    assert rows_of(MIXED, *one) == TABLE[1:]
    upright = [said | {"shape": [1, 1], "data": [said["data"][1:]]} for said in COLUMN_FORM]
    assert rows_of(MIXED, *upright) == TABLE[1:]


@pytest.mark.parametrize("name", ["predict", "input-0", "a"])
def test_one_tensor_of_any_name_is_the_rows_of_a_model_of_numbers(name: str) -> None:
    rows = [[1.0, 2.5, 3], [4.0, 5.0, 6]]
    flat = [value for row in rows for value in row]
    assert rows_of(NUMBERS, tensor(name, "FP64", [2, 3], rows)) == rows
    assert rows_of(NUMBERS, tensor(name, "FP32", [2, 3], flat)) == rows
    assert rows_of(NUMBERS, tensor(name, "FP32", [1, 3], flat[:3])) == rows[:1]
    assert rows_of(DOUBLES, tensor(name, "FP64", [1, 2], [1, 2.5])) == [[1.0, 2.5]]
    assert rows_of(DOUBLES, tensor(name, "INT8", [1, 2], [[1, 2]])) == [[1.0, 2.0]]
    with_null = tensor(name, "FP64", [1, 3], [1.0, None, None])
    assert rows_of(NUMBERS, with_null) == [[1.0, None, None]]


def test_a_model_of_one_column_takes_its_name_and_any_other() -> None:
    for name in ("a", "input-0"):
        for shape, data in (([2], [1.5, 2]), ([2, 1], [1.5, 2]), ([2, 1], [[1.5], [2]])):
            assert rows_of(DOUBLES[:1], tensor(name, "FP64", shape, data)) == [[1.5], [2.0]]


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BOOL"])
def test_every_number_goes_into_doubles_and_longs(datatype: str) -> None:
    raw = packed(datatype, [1, 2, 3, 4, 5, 6])
    found = binary_rows(NUMBERS, ("predict", datatype, [2, 3], raw))
    assert found == [[1.0, 2.0, 3], [4.0, 5.0, 6]]
    assert [type(value) for value in found[0]] == [float, float, int]
    if datatype != "FP16":
        assert rows_of(NUMBERS, tensor("predict", datatype, [2, 3], [1, 2, 3, 4, 5, 6])) == found


def test_binary_columns_are_the_same_table() -> None:
    found = binary_rows(
        MIXED,
        ("age", "UINT8", [2], packed("UINT8", [31, 45])),
        ("income", "FP64", [2, 1], packed("FP64", [1250.5, math.nan])),
        ("plan", "BYTES", [2], packed("BYTES", ["gold", "größe"])),
        ("member", "BOOL", [2], packed("BOOL", [True, False])),
    )
    assert found == [[31, 1250.5, "gold", True], [45, None, "größe", False]]


def test_binary_and_json_tensors_go_together() -> None:
    body, length = with_binary(("a", "FP32", [1], packed("FP32", [0.5])))
    head = orjson.loads(body[: int(length)])
    head["inputs"].append(tensor("b", "FP32", [1], [2]))
    changed = orjson.dumps(head)
    infer = parser(*DOUBLES).parse(changed + body[int(length) :], "", str(len(changed)))
    assert infer.rows == Rows([[0.5, 2.0]])


def test_a_binary_nan_is_null_where_that_may_be() -> None:
    raw = packed("FP32", [1.0, math.nan, math.nan])
    assert binary_rows(NUMBERS, ("x", "FP32", [1, 3], raw)) == [[1.0, None, None]]
    raw = packed("FP64", [1, 2, 3, math.nan, 5, 6])
    assert binary_refused(NUMBERS, ("x", "FP64", [2, 3], raw)) == (
        'row 1, column "a": expected a finite number, found NaN'
    )
    raw = packed("FP64", [1, -math.inf, 3])
    assert binary_refused(NUMBERS, ("x", "FP64", [1, 3], raw)) == (
        'row 0, column "b": expected a finite number or null, found a number out of range'
    )


def test_json_holds_no_nan() -> None:
    body = b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1, NaN]}]}'
    with pytest.raises(BadRequest, match="the body is not JSON"):
        parser(*DOUBLES).parse(body, JSON, None)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (
            0,
            {"data": [31, 4.5]},
            'row 1, column "age": expected a 64-bit integer, found a number with a fraction',
        ),
        (
            0,
            {"datatype": "INT8", "data": [31, 128]},
            'row 1, column "age": expected a whole '
            "number from -128 to 127 (INT8), found a number out of range",
        ),
        (
            0,
            {"datatype": "UINT64", "data": [31, 2**63]},
            'row 1, column "age": expected a 64-bit integer, found a number out of range',
        ),
        (
            0,
            {"datatype": "FP64", "data": [31, 4.5]},
            'row 1, column "age": expected a 64-bit integer, found a number with a fraction',
        ),
        (0, {"data": [31, None]}, 'row 1, column "age": expected a 64-bit integer, found null'),
        (
            1,
            {"datatype": "INT16", "data": [1, 2.5]},
            'row 1, column "income": expected a whole '
            "number from -32768 to 32767 (INT16), found a number with a fraction",
        ),
        (
            1,
            {"data": [1, "2"]},
            'row 1, column "income": expected a finite number or null, found a string',
        ),
        (
            1,
            {"data": [1, [2]]},
            'row 1, column "income": expected a finite number or null, found an array',
        ),
        (
            1,
            {"datatype": "FP16"},
            'tensor "income": datatype FP16 is for binary data; in JSON send FP32 or FP64',
        ),
        (
            1,
            {"datatype": "BOOL"},
            'tensor "income": datatype BOOL, but column "income" is a double: allowed are FP64, '
            "FP32, FP16, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64",
        ),
        (
            2,
            {"datatype": "FP32"},
            'tensor "plan": datatype FP32, but column "plan" is a string: allowed are BYTES',
        ),
        (
            2,
            {"data": ["gold", 5]},
            'row 1, column "plan": expected a string or null, found a number',
        ),
        (3, {"data": [True, 1]}, 'row 1, column "member": expected true or false, found a number'),
        (
            3,
            {"datatype": "UINT8"},
            'tensor "member": datatype UINT8, but column "member" is a boolean: allowed are BOOL',
        ),
        (
            3,
            {"datatype": "FP128"},
            'tensor "member": datatype: expected one of BOOL, INT8, INT16, '
            'INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, FP32, FP64, BYTES, found "FP128"',
        ),
        (
            3,
            {"datatype": 5},
            'tensor "member": datatype: expected one of BOOL, INT8, INT16, '
            "INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, FP32, FP64, BYTES",
        ),
        (
            3,
            {"shape": [3], "data": [True] * 3},
            'tensor "member": shape [3], expected [2] or [2, 1]: as many rows as in tensor "age"',
        ),
        (
            3,
            {"shape": [2, 2], "data": [True] * 4},
            'tensor "member": shape [2, 2], expected [2] '
            'or [2, 1]: as many rows as in tensor "age"',
        ),
        (3, {"data": [True]}, 'tensor "member": shape [2] takes 2 values, data has 1'),
        (
            3,
            {"shape": [2, 1], "data": [[True]]},
            'tensor "member": shape [2, 1], but data has 1 rows',
        ),
        (
            3,
            {"shape": [2, 1], "data": [[True], True]},
            'tensor "member": row 1: expected an array of 1 values',
        ),
        (
            3,
            {"data": None},
            'tensor "member": expected data or parameters.binary_data_size, found neither',
        ),
        (3, {"data": "10"}, 'tensor "member": data: expected an array'),
        (3, {"parameters": []}, 'tensor "member": parameters: expected an object'),
        (
            3,
            {"parameters": {"binary_data_size": 2}},
            'tensor "member": expected data or parameters.binary_data_size, found both',
        ),
        (
            3,
            {"data": None, "parameters": {"binary_data_size": 2}},
            'tensor "member": '
            "binary_data_size, but no header Inference-Header-Content-Length was sent",
        ),
        (
            3,
            {"name": "members"},
            'column "member" is missing; unknown column "members"; allowed: '
            '"age", "income", "plan", "member"',
        ),
        (3, {"name": "age"}, 'column "member" is missing; a column is named twice'),
        (3, {"name": 5}, "inputs: 3: expected an object with name, shape, datatype"),
    ],
)
def test_what_does_not_fit_is_named(place: int, change: dict[str, Any], message: str) -> None:
    inputs = copy.deepcopy(COLUMN_FORM)
    inputs[place] |= change
    assert refused(MIXED, {"inputs": inputs}) == (400, message)


@pytest.mark.parametrize(
    "shape",
    [None, 2, "2", [], [0], [-1], [2.0], [True], ["2"], [2, 0], [2, 1, 1], [1e300], [None]],
)
def test_an_absurd_shape_is_refused(shape: Any) -> None:
    for data in ([1.0], [1.0, 2.0]):
        document = {"inputs": [tensor("x", "FP64", shape, data)]}
        message = 'tensor "x": shape: expected [rows] or [rows, columns], whole numbers from 1 on'
        assert refused(DOUBLES, document) == (400, message)


def test_a_shape_that_is_not_the_models_is_told_what_is() -> None:
    each = 'one tensor for each column, of shape [rows] or [rows, 1]: "a", "b"'
    both = f"one tensor of shape [rows, 2], or {each}"
    document = {"inputs": [tensor("x", "FP64", [1, 3], [1, 2, 3])]}
    assert refused(DOUBLES, document) == (400, f'tensor "x": shape [1, 3], expected {both}')
    document = {"inputs": [tensor("x", "FP64", [2], [1, 2])]}
    assert refused(DOUBLES, document) == (400, f'tensor "x": shape [2], expected {both}')
    assert refused(DOUBLES, {"inputs": []}) == (400, f"inputs: expected {both}")
    assert refused(DOUBLES, {"instances": [[1, 2]]}) == (400, f"inputs: expected {both}")
    document = {"inputs": [tensor("a", "FP64", [2], [1, 2])]}
    assert refused(DOUBLES, document) == (400, 'column "b" is missing')
    each = 'one tensor for each column, of shape [rows] or [rows, 1]: "plan", "member"'
    document = {"inputs": [tensor("x", "BYTES", [1, 2], ["a", "b"])]}
    assert refused(MIXED[2:], document) == (400, f'tensor "x": shape [1, 2], expected {each}')
    many = [tensor(str(number), "FP64", [1], [1]) for number in range(50)]
    assert refused(DOUBLES, {"inputs": many}) == (
        400,
        f"inputs: found 50 tensors, expected {both}",
    )


def test_too_many_rows_are_refused_before_they_are_read() -> None:
    for shape in ([4, 2], [2**63, 2], [2**64 - 1, 2**64 - 1]):
        status, message = refused(DOUBLES, {"inputs": [tensor("x", "FP64", shape, [])]}, rows=3)
        assert (status, message) == (413, f"{shape[0]} rows; at most 3 in one request")


def test_binary_that_does_not_add_up_is_refused() -> None:
    raw = packed("FP32", [1, 2])
    assert binary_refused(DOUBLES, ("x", "FP64", [1, 2], raw)) == (
        'tensor "x": shape [1, 2] of FP64 takes 16 bytes, binary_data_size is 8'
    )
    body, length = with_binary(("x", "FP32", [1, 2], raw))
    for changed, message in (
        (body + b"x", "9 bytes follow the JSON, but binary_data_size accounts for 8"),
        (
            body[:-1],
            'tensor "x": binary_data_size: expected a whole number of bytes of the 7 that are left',
        ),
    ):
        with pytest.raises(BadRequest) as caught:
            parser(*DOUBLES).parse(changed, BINARY, length)
        assert str(caught.value) == message
    plain = orjson.dumps({"inputs": [tensor("x", "FP32", [1, 2], [1, 2])]})
    assert parser(*DOUBLES).parse(plain, JSON, str(len(plain))).rows.values == [[1.0, 2.0]]
    with pytest.raises(BadRequest, match="3 bytes follow the JSON, but"):
        parser(*DOUBLES).parse(plain + b"xyz", JSON, str(len(plain)))


@pytest.mark.parametrize("size", [-1, 8.0, True, "8", 2**64 - 1])
def test_a_binary_size_is_a_whole_number(size: Any) -> None:
    said = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    head = orjson.dumps({"inputs": [said | {"parameters": {"binary_data_size": size}}]})
    with pytest.raises(BadRequest, match="binary_data_size: expected a whole number"):
        parser(*DOUBLES).parse(head + bytes(8), BINARY, str(len(head)))


@pytest.mark.parametrize("length", ["", "-1", "x", "1.0", "²", " 5", "9999", "9" * 5000])
def test_a_header_length_is_one_within_the_body(length: str) -> None:
    body, _ = with_binary(("x", "FP32", [1, 2], packed("FP32", [1, 2])))
    with pytest.raises(BadRequest) as caught:
        parser(*DOUBLES).parse(body, BINARY, length)
    assert (caught.value.status, str(caught.value)) == (
        400,
        "Inference-Header-Content-Length: expected a whole number from 0 to "
        f"{len(body)}, the length of the body",
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (packed("BYTES", ["a"]), "expected 2 strings"),
        (packed("BYTES", ["a", "b", "c"]), "expected 2 strings"),
        (packed("BYTES", ["a", "b"])[:-1], "expected 2 strings"),
        (b"", "expected 2 strings"),
        (struct.pack("<I", 2**32 - 1) + b"abcd", "expected 2 strings"),
        (packed("BYTES", ["a", b"\xff"]), 'row 1, column "plan": expected UTF-8'),
    ],
)
def test_strings_that_do_not_add_up_are_refused(raw: bytes, message: str) -> None:
    assert message in binary_refused(MIXED[2:3], ("plan", "BYTES", [2], raw))


def test_a_binary_boolean_is_0_or_1() -> None:
    message = 'row 1, column "member": expected a byte of 0 or 1, found another'
    assert binary_refused(MIXED[3:], ("member", "BOOL", [2], b"\1\2")) == message


def test_a_request_says_its_id_its_outputs_and_its_predictions_ids() -> None:
    inputs = tensor("x", "FP64", [2, 2], [1, 2, 3, 4])
    rows = [[1.0, 2.0], [3.0, 4.0]]
    assert parsed(DOUBLES, inputs) == Infer(Rows(rows), None, OUTPUTS)
    wanted = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "predictions"}]
    more = {"id": "42", "outputs": wanted, "parameters": {"prediction_ids": ["p", "q"]}}
    found = parsed(DOUBLES, inputs, **more)
    assert found == Infer(Rows(rows, ["p", "q"]), "42", ("scores", "predictions"))
    ignored = {"id": None, "outputs": [], "parameters": {"binary_data_output": True}, "x": 1}
    assert parsed(DOUBLES, inputs, **ignored) == Infer(Rows(rows), None, OUTPUTS)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"id": 42}, "id: expected a string"),
        ({"parameters": []}, "parameters: expected an object"),
        ({"parameters": {"prediction_ids": ["p"]}}, "prediction_ids: expected an array of 2"),
        ({"parameters": {"prediction_ids": ["p", "p"]}}, "prediction_ids: expected each id once"),
        ({"outputs": {}}, "outputs: expected an array of objects with a name"),
        ({"outputs": [5]}, "outputs: 0: expected an object with a name"),
        ({"outputs": [{"name": None}]}, "outputs: 0: expected an object with a name"),
        (
            {"outputs": [{"name": "x"}]},
            'outputs: unknown output "x"; allowed: "predictions", "scores"',
        ),
        ({"outputs": [{"name": "scores"}] * 2}, 'outputs: output "scores" is named twice'),
        (
            {"outputs": [{"name": "scores", "parameters": {"classification": 2}}]},
            'outputs: output "scores": the parameter classification is not supported',
        ),
        (
            {"outputs": [{"name": "scores", "parameters": {"shared_memory_region": "r"}}]},
            'outputs: output "scores": the parameter shared_memory_region is not supported',
        ),
    ],
)
def test_what_is_asked_for_beside_the_rows_is_checked(more: dict[str, Any], message: str) -> None:
    document = {"inputs": [tensor("x", "FP64", [2, 2], [1, 2, 3, 4])]} | more
    status, found = refused(DOUBLES, document)
    assert status == 400 and found.startswith(message)


@pytest.mark.parametrize("media", ["", JSON, BINARY, "Application/JSON; charset=utf-8"])
def test_clients_say_these_content_types(media: str) -> None:
    body = orjson.dumps({"inputs": [tensor("x", "FP64", [1, 2], [1, 2])]})
    assert parser(*DOUBLES).parse(body, media, None).rows.values == [[1.0, 2.0]]


def test_another_content_type_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        parser(*DOUBLES).parse(b"{}", "text/csv", None)
    assert caught.value.status == 415


# What is asked is anything at all.

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["a", "age", "plan", "BYTES", "FP32", "INT64", "BOOL", "predictions"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "name", "shape", "datatype", "data", "parameters", "outputs"]
            )
            | st.sampled_from(["id", "binary_data_size", "prediction_ids"])
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
MODELS = st.sampled_from([MIXED, NUMBERS, DOUBLES, DOUBLES[:1], MIXED[2:3]])
LENGTHS = st.none() | st.text(max_size=4) | st.integers(0, 120).map(str)


def answers(columns: tuple[Column, ...], body: bytes, media: str, length: str | None) -> bool:
    """Whether it is taken; it is refused in order where not."""
    try:
        infer = parser(*columns).parse(body, media, length)
    except BadRequest as exc:
        refused_with = exc
    else:
        widths = {len(row) for row in infer.rows.values}
        assert infer.rows.n > 0 and widths == {len(columns)}
        return True
    assert refused_with.status in (400, 413, 415) and str(refused_with)
    return False


@given(MODELS, st.binary(max_size=200), st.sampled_from([JSON, BINARY, "", "x"]), LENGTHS)
def test_any_bytes_are_answered_or_refused(
    columns: tuple[Column, ...], body: bytes, media: str, length: str | None
) -> None:
    answers(columns, body, media, length)


@given(MODELS, ANY_JSON, LENGTHS, st.binary(max_size=8))
def test_any_json_is_answered_or_refused(
    columns: tuple[Column, ...], document: Any, length: str | None, tail: bytes
) -> None:
    body = orjson.dumps(document)
    answers(columns, body, JSON, None)
    answers(columns, body + tail, BINARY, length)
    answers(columns, body + tail, BINARY, str(len(body)))


@given(MODELS, st.lists(ANY_JSON, max_size=3), ANY_JSON, ANY_JSON, ANY_JSON)
def test_any_inputs_are_answered_or_refused(
    columns: tuple[Column, ...], inputs: Any, outputs: Any, request_id: Any, parameters: Any
) -> None:
    document = {"inputs": inputs, "outputs": outputs, "id": request_id, "parameters": parameters}
    answers(columns, orjson.dumps(document), JSON, None)


def mutated(draw: Any, document: Any) -> Any:
    """The document with something in it replaced or left out."""
    document = copy.deepcopy(document)
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return document
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 3)):
            place = place[key]
            continue
        if draw(st.booleans()):
            place[key] = draw(ANY_JSON)
        else:
            del place[key]
        return document


@given(st.data())
def test_a_request_with_mistakes_is_answered_or_refused(data: st.DataObject) -> None:
    document: Any = {"inputs": COLUMN_FORM, "id": "1", "outputs": [{"name": "scores"}]}
    if data.draw(st.booleans()):
        document["inputs"] = [
            said | {"shape": [1], "data": said["data"][:1]} for said in COLUMN_FORM
        ]
    assert answers(MIXED, orjson.dumps(document), JSON, None)
    for _ in range(data.draw(st.integers(1, 3))):
        document = mutated(data.draw, document)
    answers(MIXED, orjson.dumps(document), JSON, None)


@given(st.data())
def test_a_binary_request_with_mistakes_is_answered_or_refused(data: st.DataObject) -> None:
    raws = [
        packed("UINT16", [31, 45]),
        packed("FP32", [1, math.nan]),
        packed("BYTES", ["gold", ""]),
        packed("BOOL", [True, False]),
    ]
    kinds = ["UINT16", "FP32", "BYTES", "BOOL"]
    names = [column.name for column in MIXED]
    body, length = with_binary(
        *zip(names, kinds, [[2]] * 4, raws, strict=True), parameters={"binary_data_output": True}
    )
    assert answers(MIXED, body, BINARY, length)
    head, tail = body[: int(length)], bytearray(body[int(length) :])
    if data.draw(st.booleans()):
        head = orjson.dumps(mutated(data.draw, orjson.loads(head)))
    match data.draw(st.sampled_from(["cut", "grown", "changed"])):
        case "cut":
            del tail[data.draw(st.integers(0, len(tail))) :]
        case "grown":
            tail += data.draw(st.binary(max_size=9))
        case "changed":
            tail[data.draw(st.integers(0, len(tail) - 1))] = data.draw(st.integers(0, 255))
    answers(MIXED, head + tail, BINARY, str(len(head) + data.draw(st.integers(-2, 2))))


# What is well formed is one and the same table in every form.

CELLS = {
    "long": st.integers(-(2**53), 2**53),
    "double": st.floats(-LARGEST_DOUBLE, LARGEST_DOUBLE),
    "string": st.text(max_size=6),
    "boolean": st.booleans(),
}
NATIVE = {"long": "INT64", "double": "FP64", "string": "BYTES", "boolean": "BOOL"}


@given(st.data(), st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
def test_every_form_of_a_table_is_read_alike(data: st.DataObject, kinds: list[str]) -> None:
    columns = tuple(Column(f"c{place}", kind, True) for place, kind in enumerate(kinds))
    rows = data.draw(
        st.lists(st.tuples(*(CELLS[kind] for kind in kinds)).map(list), min_size=1, max_size=4)
    )
    n = len(rows)
    values = {column.name: [row[i] for row in rows] for i, column in enumerate(columns)}
    for shape, nested in (([n], False), ([n, 1], False), ([n, 1], True)):
        inputs = [
            tensor(name, NATIVE[kind], shape, [[one] for one in cells] if nested else cells)
            for (name, cells), kind in zip(values.items(), kinds, strict=True)
        ]
        assert repr(rows_of(columns, *inputs)) == repr(rows)
        assert repr(rows_of(columns, *inputs[::-1])) == repr(rows)
    binary = [
        (name, NATIVE[kind], [n], packed(NATIVE[kind], cells))
        for (name, cells), kind in zip(values.items(), kinds, strict=True)
    ]
    assert repr(binary_rows(columns, *binary)) == repr(rows)
    if set(kinds) <= {"long", "double"}:
        as_floats = [[float(value) for value in row] for row in rows]
        whole = tensor("x", "FP64", [n, len(kinds)], as_floats)
        assert rows_of(columns, whole) == rows
        raw = packed("FP64", as_floats)
        assert binary_rows(columns, ("x", "FP64", [n, len(kinds)], raw)) == rows


@given(st.data())
def test_the_short_way_for_one_row_takes_what_the_long_one_takes(data: st.DataObject) -> None:
    cell = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text(max_size=3)
        | st.lists(st.floats(0, 1), max_size=2)
    )
    columns = data.draw(MODELS)
    if data.draw(st.booleans()):
        size = len(columns)
        inputs = [tensor("x", "FP64", [1, size], data.draw(st.lists(cell, max_size=size + 1)))]
    else:
        inputs = [
            tensor(
                column.name,
                NATIVE[column.type],
                data.draw(st.sampled_from([[1], [1, 1]])),
                [data.draw(cell)],
            )
            for column in columns
        ]
    # An empty object of parameters says nothing, but is not plain.
    long = [said | {"parameters": {}} for said in inputs]
    found = []
    for form in (inputs, long):
        try:
            found.append(repr(rows_of(columns, *form)))
        except BadRequest as exc:
            found.append(f"{exc.status} {exc}")
    assert found[0] == found[1]


# Answers.

ANSWER = (["no", "yes"], [0.25, 0.75], [[0.75, 0.25], [0.25, 0.75]])
ANSWERED = Answered(*ANSWER, ["p", "q"])


def test_an_answer_has_its_outputs_as_flat_tensors() -> None:
    infer = Infer(Rows([[1.0, 2.0], [3.0, 4.0]]), "42", OUTPUTS)
    assert infer_response(bundle_of(*DOUBLES), infer, ANSWERED) == {
        "model_name": "churn",
        "model_version": "7",
        "id": "42",
        "outputs": [
            tensor("predictions", "BYTES", [2], ["no", "yes"]),
            tensor("scores", "FP64", [2], [0.25, 0.75]),
            tensor("probabilities", "FP64", [2, 2], [0.75, 0.25, 0.25, 0.75]),
            tensor("prediction_ids", "BYTES", [2], ["p", "q"]),
        ],
    }


def test_an_answer_has_the_wanted_outputs_and_always_its_ids() -> None:
    infer = Infer(Rows([[1.0, 2.0], [3.0, 4.0]]), None, ("scores",))
    assert infer_response(bundle_of(*DOUBLES), infer, ANSWERED) == {
        "model_name": "churn",
        "model_version": "7",
        "outputs": [tensor("scores", "FP64", [2], [0.25, 0.75])],
        "parameters": {"prediction_ids": ["p", "q"]},
    }


@pytest.mark.parametrize(
    ("classes", "predictions", "datatype"),
    [
        (("no", "yes"), ["no"], "BYTES"),
        ((0, 1), [0], "INT64"),
        ((False, True), [True], "BOOL"),
        ((0.5, 1.5), [0.5], "FP64"),
        (None, [2.5], "FP64"),
    ],
)
def test_predictions_are_of_their_classes_type(
    classes: Any, predictions: list[Any], datatype: str
) -> None:
    bundle = bundle_of(*DOUBLES, classes=classes)
    infer = Infer(Rows([[1.0, 2.0]]), None, ("predictions", "prediction_ids"))
    found = infer_response(bundle, infer, Answered(predictions, None, None, ["p"]))
    assert found["outputs"][0] == tensor("predictions", datatype, [1], predictions)


def test_a_model_describes_its_tensors() -> None:
    assert outputs_of(Answer(*ANSWER)) == OUTPUTS
    assert outputs_of(Answer([1.0], [1.0], None)) == ("predictions", "scores", "prediction_ids")
    assert outputs_of(Answer(["no"], None, None)) == ("predictions", "prediction_ids")
    assert model_metadata(bundle_of(*MIXED), "scikit-learn", OUTPUTS) == {
        "name": "churn",
        "versions": ["7"],
        "platform": "scikit-learn",
        "inputs": [
            {"name": "age", "datatype": "INT64", "shape": [-1]},
            {"name": "income", "datatype": "FP64", "shape": [-1]},
            {"name": "plan", "datatype": "BYTES", "shape": [-1]},
            {"name": "member", "datatype": "BOOL", "shape": [-1]},
        ],
        "outputs": [
            {"name": "predictions", "datatype": "BYTES", "shape": [-1]},
            {
                "name": "scores",
                "datatype": "FP64",
                "shape": [-1],
                "parameters": {"positive": "yes"},
            },
            {
                "name": "probabilities",
                "datatype": "FP64",
                "shape": [-1, 2],
                "parameters": {"classes": ["no", "yes"]},
            },
            {"name": "prediction_ids", "datatype": "BYTES", "shape": [-1]},
        ],
    }
    assert server_metadata("1.2") == {
        "name": "mlops_pipelines",
        "version": "1.2",
        "extensions": ["binary_tensor_data"],
    }
