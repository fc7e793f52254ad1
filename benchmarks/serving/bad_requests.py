"""Bad requests sent and counted: each is to be refused, none to fail or to hang."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from benchmarks.common import say
from benchmarks.serving.nonsense import Bad, nonsense
from benchmarks.serving.nonsense.source import Source
from benchmarks.serving.wire import Responses, connect

PATIENCE = 20.0
PAUSE = 1.0
"""So long a server that waits for the rest of a request is left to wait, before it gets an end."""
SENDERS = 16
EVERY = 5000


@dataclass
class Outcome:
    """How so many bad requests were answered; a silent one got no answer in time."""

    statuses: Counter[int] = field(default_factory=Counter)
    closed: int = 0
    silent: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """5xx, and what was never answered."""
        return sum(n for status, n in self.statuses.items() if status >= 500) + self.silent


def send_all(port: int, source: Source, wanted: int) -> Outcome:
    """Send so many, each on a connection of its own."""
    found = Outcome()
    made = nonsense(source)
    with ThreadPoolExecutor(SENDERS) as senders:
        for done in range(0, wanted, EVERY):
            batch = list(islice(made, min(EVERY, wanted - done)))
            for bad, status in zip(
                batch, senders.map(lambda b: _send(port, b), batch), strict=True
            ):
                if status is None:
                    found.silent += 1
                elif status == 0:
                    found.closed += 1
                else:
                    found.statuses[status] += 1
                if status is None or status >= 500:
                    found.failures.append(f"{bad.kind}: {status or 'no answer'}")
            told = ", ".join(f"{status} × {n:,}" for status, n in sorted(found.statuses.items()))
            say(f"  {done + len(batch):,}/{wanted:,} bad requests: {told}; closed {found.closed:,}")
    return found


def _send(port: int, bad: Bad) -> int | None:
    """The worst status of the answers, 0 where the connection was closed instead, None: neither.

    What follows a request whose length is too short is another request, with its own answer. The
    end of the stream is not sent along: a server may leave a request whose caller seems gone.
    """
    connection = connect(port, PAUSE)
    deadline = time.monotonic() + PATIENCE
    heard = b""
    ended = False
    with connection:
        # One that is refused before it was read may have its answer all the same.
        with contextlib.suppress(OSError):
            connection.sendall(bad.data)
        while True:
            try:
                data = connection.recv(65536)
            except TimeoutError:
                if time.monotonic() > deadline:
                    return None
                data = None
            except OSError:
                data = b""
            if data == b"":
                break
            heard += data or b""
            if not ended and (data is None or Responses().feed(heard)):
                ended = True
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
    statuses = [int(line[9:12]) for line in heard.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return max(statuses, default=0)
