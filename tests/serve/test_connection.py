"""What a connection takes and refuses, byte by byte."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mlops_pipelines.serve.segments import read_segments

Reply = tuple[int, dict[bytes, bytes], Any]


@pytest.fixture(scope="module")
def worker(bundles: Any, module_service: Any) -> Iterator[Any]:
    limits = ["--max-body-bytes", "10000", "--max-request-seconds", "1", "--max-connections", "20"]
    process = module_service.start(bundles.diabetes, "--serve", *limits)
    module_service.wait_for(process, state="serving")
    return module_service


@pytest.fixture
def connection(worker: Any) -> Iterator[socket.socket]:
    with socket.create_connection(worker.listener.getsockname(), timeout=10) as connected:
        yield connected


def post(values: list[float], version: str = "1.1", headers: str = "") -> bytes:
    body = json.dumps({"inputs": [values]})
    return (
        f"POST /invocations HTTP/{version}\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{headers}\r\n{body}"
    ).encode()


def reply(connected: socket.socket, file: Any = None) -> Reply:
    """The next reply on a connection."""
    lines = file or connected.makefile("rb")
    status = int(lines.readline().split()[1])
    headers = {}
    while (line := lines.readline().strip()) != b"":
        name, _, value = line.partition(b": ")
        headers[name] = value
    return status, headers, json.loads(lines.read(int(headers[b"content-length"])))


ROW = [0.01] * 10


def test_a_connection_is_kept_and_its_requests_are_answered_in_order(
    worker: Any, connection: socket.socket
) -> None:
    lines = connection.makefile("rb")
    for _ in range(3):
        connection.sendall(post(ROW))
        assert reply(connection, lines)[0] == 200
    # Pipelined: all are sent before the first is answered, one of them is not a prediction.
    rows = [[number / 100] * 10 for number in range(3)]
    health = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    connection.sendall(post(rows[0]) + health + post(rows[1]) + post(rows[2]))
    answers = [reply(connection, lines) for _ in range(4)]
    assert [status for status, _, _ in answers] == [200] * 4
    assert answers[1][2] == {"live": True}
    alone = [httpx.post(f"{worker.url}/invocations", json={"inputs": [row]}) for row in rows]
    assert [answers[place][2]["predictions"] for place in (0, 2, 3)] == [
        one.json()["predictions"] for one in alone
    ]


def test_a_body_may_come_in_pieces(connection: socket.socket) -> None:
    request = post(ROW)
    for start in range(0, len(request), 40):
        connection.sendall(request[start : start + 40])
        time.sleep(0.001)
    assert reply(connection)[0] == 200


def test_a_body_may_come_in_chunks(connection: socket.socket) -> None:
    body = json.dumps({"inputs": [ROW]}).encode()
    parts = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:30], body[30:]))
    connection.sendall(
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    )
    assert reply(connection)[0] == 200


def test_http_1_0_and_connection_close_end_the_connection(worker: Any) -> None:
    for request in (post(ROW, "1.0"), post(ROW, headers="connection: close\r\n")):
        with socket.create_connection(worker.listener.getsockname(), timeout=10) as connected:
            connected.sendall(request)
            lines = connected.makefile("rb")
            status, headers, _ = reply(connected, lines)
            assert (status, headers[b"connection"]) == (200, b"close")
            assert lines.read() == b""


def test_who_asks_before_sending_is_told(connection: socket.socket) -> None:
    head, _, body = post(ROW, headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\n\r\n")
    lines = connection.makefile("rb")
    assert lines.readline().startswith(b"HTTP/1.1 100")
    lines.readline()
    connection.sendall(body)
    assert reply(connection, lines)[0] == 200


def test_a_body_that_will_be_too_long_is_refused_before_it_is_sent(
    connection: socket.socket,
) -> None:
    connection.sendall(
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"expect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n"
    )
    status, headers, answer = reply(connection)
    assert (status, headers[b"connection"]) == (413, b"close")
    assert answer["error"] == "the body is too long; at most 10000 bytes"


def test_a_body_without_an_end_is_refused(connection: socket.socket) -> None:
    connection.sendall(
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 1000000000\r\n\r\n" + b" " * 60_000
    )
    status, headers, _ = reply(connection)
    assert (status, headers[b"connection"]) == (413, b"close")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"POST /invoc",
        b"POST /invocations HTTP/1.1\r\nhost: x\r\n",
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{",
        b"POST /feedback HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{",
    ],
)
def test_a_slow_sender_is_left(connection: socket.socket, said: bytes) -> None:
    connection.sendall(said)
    status, headers, answer = reply(connection)
    assert (status, headers[b"connection"]) == (408, b"close")
    assert answer["error"] == "the request was not complete within 1 seconds"


def test_a_head_without_an_end_is_refused(connection: socket.socket) -> None:
    connection.sendall(b"POST /invocations HTTP/1.1\r\n")
    try:
        for number in range(3000):
            connection.sendall(b"x-%d: %s\r\n" % (number, b"y" * 50))
    except ConnectionError:
        pass
    assert reply(connection)[0] == 431


def test_what_is_not_http_is_refused(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x01 what is this\r\n\r\n")
    assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_one_connection_too_many_is_turned_away(worker: Any) -> None:
    address = worker.listener.getsockname()
    held = [socket.create_connection(address, timeout=10) for _ in range(20)]
    try:
        with socket.create_connection(address, timeout=10) as one_more:
            status, headers, _ = reply(one_more)
            assert (status, headers[b"retry-after"]) == (503, b"1")
        # The private socket still says how it is.
        (info,) = worker.wait_for(worker.processes[0], state="serving")
        with worker.private(info) as private:
            assert private.get("/health/ready").status_code == 200
    finally:
        for each in held:
            each.close()


def test_who_hangs_up_before_the_answer_costs_nothing(worker: Any) -> None:
    def rows() -> int:
        segments = read_segments(worker.log_dir, "predictions")
        return sum(len(segment.rows) for segment in segments)

    for _ in range(20):
        with socket.create_connection(worker.listener.getsockname(), timeout=10) as connected:
            connected.sendall(post(ROW))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        page = httpx.get(f"{worker.url}/metrics").text
        found = re.search(r"^mlops_rows_total{.*} (\d+)$", page, re.MULTILINE)
        assert found is not None
        if re.search(r"^mlops_inflight{.*} 0$", page, re.MULTILINE) and int(found[1]) == rows():
            return
        time.sleep(0.05)
    pytest.fail("requests are still counted as in flight, or the counts differ from the log")
