"""One HTTP connection: uvicorn's, with a short way for predictions.

A request for predictions that is alone on its connection needs nothing that ASGI offers, and the
scope, the task and the messages of ASGI cost more than the answer. So it goes from the parser
straight to `Inference`; everything else, pipelined requests among it, is uvicorn's to serve.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mlops_pipelines.serve.app import App
from mlops_pipelines.serve.inference import Reply
from mlops_pipelines.serve.request import READ_AND_DROP, said_length, too_long, too_slow
from mlops_pipelines.serve.signature import BadRequest, Limits

HEAD_BYTES = 64 * 1024
_CLOSE = b"connection: close\r\n"


class Connection(HttpToolsProtocol):
    """A connection of the worker; made anew for each by `uvicorn.Server`."""

    def __init__(self, app: App, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._served = app
        self._began: float | None = None
        self._idle_since: float | None = None
        self._head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """A caller came; one too many is turned away."""
        super().connection_made(transport)
        # A connection that says nothing is as slow as one that stops in the middle.
        self._began = time.monotonic()
        # The private socket is for health, which must stay to be told.
        if self.client is not None and len(self.connections) > self._served.limits.connections:
            self._break_off(503, "too many connections", b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        """Bytes came; a head without an end is refused."""
        self._idle_since = None
        if self._began is None:
            self._began = time.monotonic()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._break_off(431, f"the request's head is too long; at most {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """A request's head is whole: decide which way it goes."""
        self._head_bytes = -1 << 62
        alone = self.cycle is None or self.cycle.response_complete
        path = self._served.short_ways.get(self.url)
        if (
            path is None
            or not alone
            or self.expect_100_continue
            or self.parser.get_method() != b"POST"
        ):
            url, headers, expected = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expected
            self.scope["headers"] = self.headers = headers
            super().on_headers_complete()
            return
        keep = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        exchange: Any = Exchange(self, self._served, path, dict(self.headers), keep)
        self.cycle = exchange
        if said_length(exchange.headers) > READ_AND_DROP * self._served.limits.body_bytes:
            exchange.refuse(too_long(self._served.limits.body_bytes))

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        cycle: Any = self.cycle
        if type(cycle) is Exchange:
            cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._began = None
        self._head_bytes = 0
        cycle: Any = self.cycle
        if type(cycle) is Exchange:
            cycle.complete()
        else:
            super().on_message_complete()

    def finished(self) -> None:
        """An exchange is over; go on with what was pipelined behind it, or wait for more."""
        if self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._idle_since = time.monotonic()

    def sweep(self, instant: float) -> None:
        """Leave a caller that is too slow, or that has had nothing to say for long."""
        limits = self._served.limits
        idle = self._idle_since
        if idle is not None and instant - idle > self.timeout_keep_alive:
            self.transport.close()
        began = self._began
        if began is None or instant - began <= limits.request_seconds:
            return
        cycle: Any = self.cycle
        if type(cycle) is Exchange and not cycle.response_complete:
            cycle.refuse(too_slow(limits.request_seconds))
        elif cycle is None or cycle.response_complete:
            # The head is not whole; of a body that is not, `read_body` takes care.
            self._break_off(408, str(too_slow(limits.request_seconds)))

    def _break_off(self, status: int, reason: str, headers: bytes = b"") -> None:
        if not self.transport.is_closing():
            body = b'{"error":"%s"}' % reason.encode()
            head = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
            self.transport.write(
                b"".join((STATUS_LINE[status], head, headers, _CLOSE, b"\r\n", body))
            )
        self.transport.close()


class Exchange:
    """One request for predictions and its reply; to uvicorn it looks like one of its cycles."""

    __slots__ = (
        "_app",
        "_body",
        "_connection",
        "_dropped",
        "_limits",
        "_path",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "response_complete",
    )

    def __init__(
        self,
        connection: Connection,
        app: App,
        path: str,
        headers: Mapping[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self._app = app
        self._limits: Limits = app.limits
        self._path = path
        self.headers = headers
        self._body: bytes | bytearray = b""
        self._dropped = 0
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False
        self.message_event = _NOBODY_WAITS

    def feed(self, part: bytes) -> None:
        """Take a part of the body; what is too long is dropped, and refused at its end."""
        most = self._limits.body_bytes
        if self._dropped or len(self._body) + len(part) > most:
            self._dropped += len(self._body) + len(part)
            self._body = b""
            # A caller still sending would see a broken connection instead of the refusal.
            if self._dropped > READ_AND_DROP * most:
                self.refuse(too_long(most))
        elif not self._body:
            self._body = part
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += part

    def complete(self) -> None:
        """The body is whole."""
        if self._dropped:
            self.refuse(too_long(self._limits.body_bytes))
        elif not self.response_complete:
            body, self._body = bytes(self._body), b""
            trusted = self._connection.client is None
            self._app.inference.take(self._path, self.headers, body, self._reply, trusted)

    def refuse(self, exc: BadRequest) -> None:
        """Reply before the request is whole, and close: the rest of it is not read."""
        if not self.response_complete:
            self.keep_alive = False
            self._app.inference.refuse(self._path, self.headers, exc, self._reply)

    def _reply(self, reply: Reply) -> None:
        connection = self._connection
        transport = connection.transport
        self.response_complete = True
        if transport.is_closing():
            return
        close = not self.keep_alive or self._app.state == "draining"
        parts = [
            STATUS_LINE[reply.status],
            b"content-type: application/json\r\ncontent-length: %d\r\n" % len(reply.body),
        ]
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (_CLOSE, b"\r\n", reply.body) if close else (b"\r\n", reply.body)
        transport.write(b"".join(parts))
        if close:
            transport.close()
        connection.finished()


class _NobodyWaits:
    def set(self) -> None:
        """An exchange is told by calls, not by an event."""


_NOBODY_WAITS = _NobodyWaits()
