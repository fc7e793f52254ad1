"""What is read from an HTTP request: its body, its id, the time it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mlops_pipelines.serve.signature import BadRequest, Limits
from mlops_pipelines.serve.times import now, parse_time, written

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

REQUEST_ID_LENGTH = 128
READ_AND_DROP = 4


class Gone(Exception):
    """The caller left before its request was complete."""


def too_long(most: int) -> BadRequest:
    """The refusal of a body that is too long."""
    return BadRequest(413, f"the body is too long; at most {most} bytes")


def too_slow(seconds: float) -> BadRequest:
    """The refusal of a request that does not come to its end."""
    return BadRequest(408, f"the request was not complete within {seconds:g} seconds")


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limits: Limits) -> bytes:
    """The request's whole body.

    Raises BadRequest when it is too long or takes too long, Gone when it ends early.
    """
    most = limits.body_bytes
    # Who waits to be told to go on (curl does) is told no before the body is sent.
    if headers.get(b"expect") and said_length(headers) > most:
        raise too_long(most)
    length = 0
    parts = []
    try:
        async with asyncio.timeout(limits.request_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                part = message.get("body", b"")
                length += len(part)
                if length <= most:
                    parts.append(part)
                # A caller still sending would see a broken connection instead of the refusal, so
                # what is too long is read and dropped, within reason.
                if not message.get("more_body") or length > READ_AND_DROP * most:
                    break
    except TimeoutError as exc:
        raise too_slow(limits.request_seconds) from exc
    if length > most:
        raise too_long(most)
    return b"".join(parts)


def said_length(headers: Mapping[bytes, bytes]) -> int:
    """The Content-Length, 0 where none is given."""
    said = headers.get(b"content-length", b"")
    return int(said) if said.isdigit() else 0


def text_of(headers: Mapping[bytes, bytes], name: bytes) -> str:
    """A header's value as text; empty where it was not sent."""
    return headers.get(name, b"").decode("latin-1")


def request_id(headers: Mapping[bytes, bytes]) -> str | None:
    """The caller's `X-Request-Id` where it is short and printable."""
    given = headers.get(b"x-request-id")
    if given and len(given) <= REQUEST_ID_LENGTH and given.isascii():
        text = given.decode()
        if text.isprintable():
            return text
    return None


def event_time(headers: Mapping[bytes, bytes]) -> str | None:
    """`X-Event-Time` as it is logged; None where it is not given. Raises BadRequest."""
    given = headers.get(b"x-event-time")
    if given is None:
        return None
    try:
        return written(parse_time(given.decode("latin-1"), now()))
    except ValueError as exc:
        raise BadRequest(400, f"X-Event-Time: {exc}") from exc
