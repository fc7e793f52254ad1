"""What is read from an HTTP request: its body, its id, the time it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from mlops_pipelines.serve.log import uuid7
from mlops_pipelines.serve.signature import BadRequest
from mlops_pipelines.serve.times import parse_time, written

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

REQUEST_ID_LENGTH = 128
READ_AND_DROP = 4


class Gone(Exception):
    """The caller left before its request was complete."""


async def read_body(receive: Receive, most: int) -> bytes:
    """The request's whole body. Raises BadRequest when it is too long, Gone when it ends early."""
    length = 0
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        length += len(part)
        if length <= most:
            parts.append(part)
        # A caller still sending would see a broken connection instead of the refusal, so what is
        # too long is read and dropped, within reason.
        if not message.get("more_body") or length > READ_AND_DROP * most:
            break
    if length > most:
        raise BadRequest(413, f"the body is too long; at most {most} bytes")
    return b"".join(parts)


def text_of(headers: dict[bytes, bytes], name: bytes) -> str:
    """A header's value as text; empty where it was not sent."""
    return headers.get(name, b"").decode("latin-1")


def request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's `X-Request-Id` where it is short and printable, else a new one."""
    given = text_of(headers, b"x-request-id")
    fits = 0 < len(given) <= REQUEST_ID_LENGTH and given.isascii() and given.isprintable()
    return given if fits else uuid7()


def event_time(headers: dict[bytes, bytes], arrived: datetime) -> str | None:
    """`X-Event-Time` as it is logged; None where it is not given. Raises BadRequest."""
    given = headers.get(b"x-event-time")
    if given is None:
        return None
    try:
        return written(parse_time(given.decode("latin-1"), arrived))
    except ValueError as exc:
        raise BadRequest(400, f"X-Event-Time: {exc}") from exc
