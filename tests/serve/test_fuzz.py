"""Bad input that is searched for: against our own OpenAPI, and by mutation. Never a 5xx."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROWS = 30
BYTES = 4_000_000
SECONDS = 1
LIMITS = [
    *("--max-rows", f"{ROWS}", "--max-body-bytes", f"{BYTES}"),
    *("--max-request-seconds", f"{SECONDS}"),
]
TOKEN = "a-token-for-this-test-alone"
# Values that an answer or a log line would be known by.
TEXT, NUMBER = "Canary-Wren", 7315553.1875
SIGNS = ("canary", "7315553")

NAMES = ["plan", "age", "income", "member"]
DATA: list[list[Any]] = [["gold", 31, 1250.5, True], [None, 45, None, False], ["x", 2, 0.5, True]]
GOOD = {"dataframe_split": {"columns": NAMES, "data": DATA}}
JSON = {"content-type": "application/json"}
INVOCATIONS, FEEDBACK, INFER = "/invocations", "/feedback", "/v2/models/mixed/infer"
DATATYPES = ("BYTES", "INT64", "FP64", "BOOL")

SEARCH = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def worker(bundles: Any, module_service: Any) -> Any:
    """A worker that takes little at once, and only from who has a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_SERVE_TOKENS", TOKEN)
        process = module_service.start(bundles.mixed, "--serve", "--no-fsync", *LIMITS)
    module_service.wait_for(process, state="serving")
    return module_service


@pytest.fixture(scope="module")
def client(worker: Any) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=worker.url, timeout=30, headers=headers) as client:
        yield client
    said = worker.stderr.lower()
    assert TOKEN not in said
    assert [sign for sign in SIGNS if sign in said] == []
    assert "exception" not in said


@pytest.fixture
def refused(client: httpx.Client) -> Callable[..., str]:
    """What a bad request is told: a 4xx that repeats nothing; a good one is answered after it."""

    def refused(path: str, body: Any, status: int = 400, **headers: str) -> str:
        response = client.post(path, content=body, headers=JSON | headers)
        answer = response.json()
        assert response.status_code == status, answer
        assert set(answer) <= {"error", "request_id"}
        assert [sign for sign in SIGNS if sign in response.text.lower()] == []
        good = client.post(INVOCATIONS, json=GOOD)
        assert (good.status_code, len(good.json()["predictions"])) == (200, 3)
        return str(answer["error"])

    return refused


def test_the_server_is_as_it_says_it_is(worker: Any, tmp_path: Path) -> None:
    """Schemathesis sends what the document allows and what it does not, and checks each answer."""
    config = tmp_path / "schemathesis.toml"
    # What belongs together in tensors (shape and data) no schema can say.
    config.write_text(
        "[checks]\n"
        "negative_data_rejection.expected-statuses = [400, 401, 404, 405, 413, 415]\n"
        "[[operations]]\n"
        'include-path-regex = "/infer$"\n'
        "checks.positive_data_acceptance.enabled = false\n"
    )
    hooks = Path(__file__).with_name("schemathesis_hooks.py")
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run"]
        + [f"{worker.url}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}"]
        + ["--phases", "examples,coverage,fuzzing", "--mode", "all", "--max-examples", "20"]
        + ["--generation-deterministic", "--no-color", "--workers", "1"],
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(hooks)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Selected: 16/16" in done.stdout


def test_nothing_is_answered_without_a_token(worker: Any) -> None:
    for path in (INVOCATIONS, FEEDBACK, INFER, "/v2/models/mixed/versions/1/infer"):
        for headers in ({}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": TOKEN}):
            response = httpx.post(worker.url + path, json=GOOD, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in response.text


def unfit(column: str) -> st.SearchStrategy[Any]:
    """Values that the column cannot take, and canaries wherever there is room for one."""
    nested = st.recursive(
        st.sampled_from([TEXT, NUMBER, None, True]),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).filter(lambda value: isinstance(value, list | dict))
    text, number = st.just(TEXT), st.just(NUMBER)
    huge = st.floats(3.5e38, 1.7e308) | st.floats(-1.7e308, -3.5e38)
    beyond = st.integers(2**63, 2**64 - 1) | st.integers(max_value=-(2**63) - 1) | huge
    small = st.floats(-1e9, 1e9).filter(lambda value: value % 1)
    return (
        nested
        | {
            "plan": number | st.integers() | st.booleans(),
            "age": text | number | beyond | small | st.booleans() | st.none(),
            "income": text | huge | st.booleans() | st.integers(10**39, 10**60),
            "member": text | number | st.integers() | st.none(),
        }[column]
    )


@SEARCH
@given(st.data())
def test_a_value_that_does_not_fit_is_named_by_row_and_column(
    refused: Callable[..., str], data: st.DataObject
) -> None:
    row, column = data.draw(st.integers(0, 2)), data.draw(st.sampled_from(NAMES))
    place = NAMES.index(column)
    rows = [list(values) for values in DATA]
    rows[row][place] = data.draw(unfit(column))
    records = [dict(zip(NAMES, values, strict=True)) for values in rows]
    by_column = {name: [record[name] for record in records] for name in NAMES}
    body = data.draw(
        st.sampled_from(
            [
                {"dataframe_split": {"columns": NAMES, "data": rows}},
                {"dataframe_records": records},
                {"inputs": by_column},
                {"inputs": rows},
                {"instances": records},
            ]
        )
    )
    assert refused(INVOCATIONS, json.dumps(body)).startswith(f'row {row}, column "{column}": ')
    tensors = [
        {"name": name, "shape": [3], "datatype": datatype, "data": by_column[name]}
        for name, datatype in zip(NAMES, DATATYPES, strict=True)
    ]
    assert f'"{column}"' in refused(INFER, json.dumps({"inputs": tensors}))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(TEXT),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
tables = st.sampled_from(
    ["dataframe_split", "dataframe_records", "inputs", "instances", "labels", "prediction_ids"]
)


@SEARCH
@given(
    st.sampled_from([INVOCATIONS, FEEDBACK, INFER]),
    st.binary(max_size=200)
    | st.dictionaries(tables, anything).map(lambda it: json.dumps(it).encode())
    | anything.map(lambda it: json.dumps(it).encode()),
    st.sampled_from(["application/json", "text/csv"]),
)
def test_any_other_body_is_refused(
    client: httpx.Client, path: str, body: bytes, media: str
) -> None:
    response = client.post(path, content=body, headers={"content-type": media})
    assert 400 <= response.status_code < 500, response.text
    assert isinstance(response.json()["error"], str)


@SEARCH
@given(st.data())
def test_a_damaged_body_is_answered_or_refused(client: httpx.Client, data: st.DataObject) -> None:
    body = bytearray(json.dumps(GOOD).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        upto = data.draw(st.integers(at, min(at + 8, len(body))))
        body[at:upto] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"[", b"}", b"1e9", b'"'])
        )
    response = client.post(INVOCATIONS, content=bytes(body), headers=JSON)
    assert response.status_code in (200, 400, 413), response.text


WITH = b'{"inputs":[["gold",31,%b,true]]}'
ENCODED = json.dumps({"inputs": [["glühend", 31, 1.5, True]]}, ensure_ascii=False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"inputs":' * 50_000,
        WITH % (b"[" * 100_000),
        WITH % (b"[" * 100_000 + b"]" * 100_000),
        WITH % b"NaN",
        WITH % b"Infinity",
        WITH % b"-Infinity",
        WITH % b"1e400",
        WITH % (b"9" * 100_000),
        WITH % (b"1." + b"0" * 100_000 + b"e400"),
        WITH % b"1e300",
        WITH % b"-3.5e38",
        WITH % b"0x10",
        WITH % b"1_000",
        WITH % b'"\\ud800"',
        WITH % b'"\xff"',
        WITH % b"1.5,1.5",
        (WITH % b"1.5").replace(b"gold", b"\\ud800"),
        (WITH % b"1.5") + b"{}",
        b"\xef\xbb\xbf" + WITH % b"1.5",
        *(ENCODED.encode(encoding) for encoding in ("utf-16", "utf-32", "latin-1", "utf-16-le")),
        b'{"inputs":[["gold",31,1.5,true]],"instances":[["gold",31,1.5,true]]}',
        b'{"inputs":[["gold",31,1.5,true]],"prediction_ids":null}',
        b'{"inputs":[["gold",31,1.5,true]],"prediction_ids":["a","b"]}',
        b'{"inputs":[["gold",31,1.5,true]],"prediction_ids":["%b"]}' % (b"x" * 129),
        b'{"inputs":[["gold",31,1.5,true]],"prediction_ids":[""]}',
        b'{"inputs":{"plan":["a"],"age":[1,2],"income":[1],"member":[true]}}',
        b'{"inputs":[]}',
        b'{"inputs":[[]]}',
        b'{"inputs":[["gold",31,1.5,true],{}]}',
        b'{"dataframe_split":{"columns":["plan","plan","age","income"],"data":[[1,2,3,4]]}}',
        b'{"dataframe_split":{"columns":[[]],"data":[[1]]}}',
        b'{"dataframe_split":[]}',
    ],
)
def test_a_body_that_is_no_table_is_refused(refused: Callable[..., str], body: bytes) -> None:
    assert refused(INVOCATIONS, body)
    assert refused(INFER, body)
    assert refused(FEEDBACK, body)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected CSV with a header line"),
        ("plan,age,income,member\n", "expected an array of at least one row"),
        (f"{TEXT},31,{NUMBER},true\nx,1,2,false\n", '"plan", "age", "income", "member"'),
        (f"plan,age,income,member\n{TEXT},{NUMBER},1,true\n", 'row 0, column "age"'),
        ("plan,age,income,member\na,1,2,true\na,1,nan,true\n", 'row 1, column "income"'),
        ("plan,age,income,member\na,1,1e39,true\n", 'row 0, column "income"'),
        (f"plan,age,income,member\na,1,2,{TEXT}\n", 'row 0, column "member"'),
        ("plan,age,income,member\na,,2,true\n", 'row 0, column "age"'),
        ("plan,age,income,member\na,1,2\n", "row 0: 3 values, expected 4"),
        ("plan,age,income,member\na," + "9" * 5000 + ",2,true\n", 'row 0, column "age"'),
        ('plan,age,income,member\n"' + TEXT, "row 0: 1 values, expected 4"),
        ("plan,age,income,member\n" + "a" * 140_000, "the body is not CSV in UTF-8"),
        ("plan;age;income;member\na;1;2;true\n", '"plan", "age", "income", "member"'),
    ],
)
def test_csv_that_is_no_table_is_refused(refused: Callable[..., str], text: str, told: str) -> None:
    assert told in refused(INVOCATIONS, text.encode(), **{"content-type": "text/csv"})


def test_csv_in_another_encoding_is_refused(refused: Callable[..., str]) -> None:
    text = f"plan,age,income,member\nglühend {TEXT},31,1.5,true\n"
    for encoding in ("utf-16", "latin-1", "utf-32"):
        refused(INVOCATIONS, text.encode(encoding), **{"content-type": "text/csv"})


def test_of_a_key_that_is_there_twice_the_last_counts(client: httpx.Client) -> None:
    twice = b'{"inputs":[["x",31,"%b",true]],"inputs":[["gold",31,1250.5,true]]}' % TEXT.encode()
    once = client.post(INVOCATIONS, json={"inputs": DATA[:1]}).json()
    response = client.post(INVOCATIONS, content=twice, headers=JSON)
    assert (response.status_code, response.json()["scores"]) == (200, once["scores"])


@pytest.mark.parametrize(
    ("rows", "status"), [(1_000_000, 413), (ROWS + 1, 413), (2_000_000, 413), (ROWS, 400)]
)
def test_too_many_rows_are_refused(refused: Callable[..., str], rows: int, status: int) -> None:
    body = b'{"inputs":[' + b",".join([b"[]"] * rows) + b"]}"
    told = {413: (f"at most {ROWS} in one request", "the body is too long"), 400: ("0 values",)}
    assert any(text in refused(INVOCATIONS, body, status) for text in told[status])
    lines = b"plan,age,income,member\n" + b"x\n" * rows
    refused(INVOCATIONS, lines, status, **{"content-type": "text/csv"})
    labels = b'{"labels":[' + b",".join([b"1"] * rows) + b"]}"
    refused(FEEDBACK, labels, status)
    tensor = {"name": "plan", "shape": [rows], "datatype": "BYTES", "data": []}
    refused(INFER, json.dumps({"inputs": [tensor]}), 413 if rows > ROWS else 400)


@pytest.mark.parametrize("path", [INVOCATIONS, FEEDBACK, INFER])
def test_a_body_that_is_too_long_is_refused(refused: Callable[..., str], path: str) -> None:
    told = f"the body is too long; at most {BYTES} bytes"
    canary = TEXT.encode()
    for length in (BYTES + 1, 3 * BYTES):
        assert refused(path, canary.ljust(length), 413) == told
        # Without a length, in chunks.
        assert refused(path, iter([canary, b" " * (length - len(canary))]), 413) == told


@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/xml", "application/jsonx", "json", "*/*", "", "\xff", f"a/{TEXT}"],
)
def test_another_content_type_is_refused(refused: Callable[..., str], media: str) -> None:
    body = json.dumps(GOOD).encode()
    header: Any = {"content-type": media.encode("latin-1")}
    assert refused(INVOCATIONS, body, 415, **header).startswith("expected the content type")
    assert refused(FEEDBACK, body, 415, **header).startswith("expected the content type")


@pytest.mark.parametrize("given", [TEXT, "", "2026-13-01T00:00:00Z", "1e9", "2999-01-01T00:00:00Z"])
def test_a_time_that_is_none_is_refused(refused: Callable[..., str], given: str) -> None:
    header: Any = {"x-event-time": given}
    for path, body in ((INVOCATIONS, GOOD), (INFER, tensors_of(DATA))):
        assert refused(path, json.dumps(body), **header).startswith("X-Event-Time: ")
    label = {"prediction_id": "a", "label": "yes", "time": given}
    assert refused(FEEDBACK, json.dumps({"labels": [label]})).startswith("label 0: ")


def tensors_of(rows: list[list[Any]]) -> dict[str, Any]:
    columns = zip(NAMES, DATATYPES, zip(*rows, strict=True), strict=True)
    return {
        "inputs": [
            {"name": name, "shape": [len(rows)], "datatype": datatype, "data": values}
            for name, datatype, values in columns
        ]
    }


@SEARCH
@given(st.data())
def test_a_tensor_that_does_not_fit_is_refused(
    refused: Callable[..., str], data: st.DataObject
) -> None:
    body = tensors_of(DATA)
    tensor = data.draw(st.sampled_from(body["inputs"]))
    field = data.draw(st.sampled_from(["shape", "datatype", "data", "parameters"]))
    whole = st.integers(max_value=0) | st.integers(4, 2**70) | st.just(NUMBER) | st.booleans()
    tensor[field] = data.draw(
        {
            "shape": st.lists(whole, max_size=3) | whole | st.just([3, 2]) | st.just([3, 1, 1]),
            "datatype": st.sampled_from(["FP61", "", 7, None, [], "fp64"]),
            "data": st.sampled_from([[], [TEXT], [[TEXT]] * 3, NUMBER, {}, None, [NUMBER] * 4]),
            "parameters": st.sampled_from(
                [7, [], {"binary_data_size": 4}, {"binary_data_size": -1}]
            ),
        }[field]
    )
    status = 413 if field == "shape" and _rows(tensor["shape"]) > ROWS else 400
    refused(INFER, json.dumps(body), status)


def _rows(shape: Any) -> int:
    good = isinstance(shape, list) and shape and all(type(n) is int and n > 0 for n in shape)
    return shape[0] if good and len(shape) <= 2 else 0


@SEARCH
@given(
    st.binary(max_size=40),
    st.sampled_from(["0", "1", "-1", "9" * 30, "", "x", "1.0", "\u0661".encode().decode("latin-1")])
    | st.integers(0, 400).map(str),
    st.integers(0, 50),
)
def test_binary_tensors_that_do_not_fit_are_refused(
    client: httpx.Client, raw: bytes, length: str, size: int
) -> None:
    body = tensors_of(DATA)
    body["inputs"][2].pop("data")
    body["inputs"][2]["parameters"] = {"binary_data_size": size}
    head = json.dumps(body).encode()
    said = length if len(length) != 2 else str(len(head))
    response = client.post(
        INFER,
        content=head + raw,
        headers={"inference-header-content-length": said.encode("latin-1")},
    )
    assert response.status_code in (200, 400, 415), response.text


def raw(worker: Any, request: bytes, seconds: float = 10) -> bytes:
    """Everything that is answered to these bytes until the server closes or is silent."""
    address = worker.listener.getsockname()
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


HEAD = (
    f"POST /invocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Type: application/json\r\n"
).encode()
WHOLE = json.dumps(GOOD).encode()
LENGTH = b"Content-Length: %d\r\n" % len(WHOLE)
CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (HEAD + CLOSE + LENGTH + b"\r\n" + WHOLE, 200),
        (HEAD + CLOSE + b"Content-Length: x\r\n\r\n", 400),
        (HEAD + CLOSE + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + CLOSE + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (HEAD + CLOSE + LENGTH + b"Content-Length: 3\r\n\r\n" + WHOLE, 400),
        (HEAD + CLOSE + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + CLOSE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}x\r\n0\r\n\r\n", 400),
        (HEAD + CLOSE + b"Transfer-Encoding: nothing\r\n\r\n", 400),
        (HEAD + b"X-Long: " + b"x" * 200_000 + b"\r\n", 431),
        (b"GET /" + b"x" * 200_000, 431),
        (HEAD + CLOSE + b"X-Nul: \x00\r\n\r\n", 400),
        (HEAD + CLOSE + b"no colon\r\n\r\n", 400),
        (b"BREW /invocations HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /invocations HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"DELETE /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"GET /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"GET /%00%ff/../x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET /" + TEXT.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_http_that_is_none_is_refused(
    worker: Any, client: httpx.Client, request_bytes: bytes, status: int
) -> None:
    answer = raw(worker, request_bytes)
    assert answer.split(b" ")[:2] == [b"HTTP/1.1", str(status).encode()], answer[:300]
    assert TEXT.encode() not in answer
    assert client.post(INVOCATIONS, json=GOOD).status_code == 200


def test_a_body_that_never_ends_is_refused_in_time(worker: Any, client: httpx.Client) -> None:
    for head in (HEAD + b"Content-Length: 500\r\n\r\n{", HEAD[:40], b""):
        answer = raw(worker, head, SECONDS + 10)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"connection: close" in answer.lower()
    assert client.post(INVOCATIONS, json=GOOD).status_code == 200


def test_a_caller_that_leaves_harms_nobody(worker: Any, client: httpx.Client) -> None:
    for request in (HEAD, HEAD + LENGTH + b"\r\n" + WHOLE[:20], HEAD + LENGTH + b"\r\n" + WHOLE):
        for _ in range(5):
            with socket.create_connection(worker.listener.getsockname()) as connection:
                connection.sendall(request)
    assert client.post(INVOCATIONS, json=GOOD).status_code == 200


def test_a_slow_sender_does_not_hold_up_others(worker: Any, client: httpx.Client) -> None:
    answers: list[bytes] = []
    body = HEAD + LENGTH + b"\r\n" + WHOLE

    def slowly() -> None:
        with socket.create_connection(worker.listener.getsockname(), timeout=10) as connection:
            connection.settimeout(0.02)
            for byte in body:
                try:
                    connection.sendall(bytes([byte]))
                    answers.append(connection.recv(65536))
                    return
                except TimeoutError:
                    continue

    sender = threading.Thread(target=slowly)
    sender.start()
    answered = 0
    while sender.is_alive():
        assert client.post(INVOCATIONS, json=GOOD).status_code == 200
        answered += 1
        time.sleep(0.01)
    sender.join()
    (answer,) = answers
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answered > 10


def test_pipelined_requests_are_answered_in_their_order(worker: Any) -> None:
    bad = HEAD + b"Content-Length: 2\r\n\r\n{}"
    good = HEAD + LENGTH + b"\r\n" + WHOLE
    last = HEAD + CLOSE + LENGTH + b"\r\n" + WHOLE
    answer = raw(worker, good + bad + good + bad + last)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200", b"400", b"200", b"400", b"200"]


@SEARCH
@given(st.sampled_from([1e-308, 5e-324, -0.0, 3.4028234663852886e38, -3.4028234663852886e38]))
def test_every_number_that_is_allowed_is_answered(client: httpx.Client, number: float) -> None:
    response = client.post(INVOCATIONS, json={"inputs": [["gold", -(2**63), number, True]]})
    assert response.status_code == 200
    assert all(math.isfinite(score) for score in response.json()["scores"])
