from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.serve.trace import trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def seen(value: str) -> str | None:
    return trace_id({b"traceparent": value.encode("latin-1")})


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"cc-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
    ],
)
def test_the_trace_of_a_valid_header(value: str) -> None:
    assert seen(value) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        TRACE,
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-001",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"cc-{TRACE}-{PARENT}-0",
        f"0-{TRACE}-{PARENT}-01",
        f" 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
    ],
)
def test_what_is_not_valid_names_no_trace(value: str) -> None:
    assert seen(value) is None


def test_without_the_header_there_is_no_trace() -> None:
    assert trace_id({b"tracestate": b"a=1"}) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_a_trace_or_none(value: bytes) -> None:
    found = trace_id({b"traceparent": value})
    assert found is None or (len(found) == 32 and found.encode() in value)
