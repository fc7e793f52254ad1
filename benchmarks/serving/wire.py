"""Just enough HTTP/1.1 on raw sockets to be fast, and to send what no client library would."""

from __future__ import annotations

import re
import socket

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def request(
    path: str, body: bytes, *, method: str = "POST", media: str = "application/json", more: str = ""
) -> bytes:
    """The bytes of one request; `more` are further header lines, each with its line end."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: {media}\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


class Responses:
    """Cuts the bytes of one connection into responses that give their length."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Status and body of every response that is complete now."""
        self._held += data
        complete = []
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end]
            length = LENGTH.search(head)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(self._held) < stop:
                break
            complete.append((int(head[9:12]), self._held[end + 4 : stop]))
            self._held = self._held[stop:]
        return complete


def connect(port: int, seconds: float | None = None) -> socket.socket:
    """A connection that sends at once; blocking for at most so many seconds, or not at all."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=seconds or 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A whole request fits, so that a socket that does not block takes it at once.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    if seconds is None:
        connection.setblocking(False)
    return connection
