"""Callers that ask without pause, in a process of their own, and what they saw.

Each keeps one connection. Every request is sent once: nothing is tried again. A request has failed
where it got no answer, or one with a status of 400 or above.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.common import ROOT
from benchmarks.release.errors import RefusedError

CONNECTIONS = 8
PATIENCE = 40.0
"""Seconds until a caller gives up; longer than the gateway's own patience with a replica."""
HEADERS = {"content-type": "application/json"}
NONE = 0
"""The status of a request that got no answer, and the version where an answer names none."""


@dataclass
class Seen:
    """A row for each request: when it was sent and answered, which version, which status.

    Times are those of this machine's monotonic clock, which every process shares.
    """

    requests: np.ndarray

    @property
    def count(self) -> int:
        return len(self.requests)

    @property
    def failed(self) -> np.ndarray:
        """The rows of the requests that failed."""
        status = self.requests[:, 3]
        return self.requests[(status == NONE) | (status >= 400)]

    def of(self, version: int) -> np.ndarray:
        """The rows that this version answered well."""
        good = (self.requests[:, 2] == version) & (self.requests[:, 3] < 400)
        return self.requests[good & (self.requests[:, 3] != NONE)]

    def between(self, first: float, last: float) -> Seen:
        """Those that were answered then."""
        ends = self.requests[:, 1]
        return Seen(self.requests[(ends >= first) & (ends < last)])

    def statuses(self) -> str:
        """How the failed ones ended, for a note."""
        found, counts = np.unique(self.failed[:, 3], return_counts=True)
        said = {NONE: "no answer"}
        return ", ".join(
            f"{count} × {said.get(int(status), int(status))}"
            for status, count in zip(found, counts, strict=True)
        )


class Calling:
    """A load that is under way; `seen` holds what it saw once it has ended."""

    seen: Seen


@contextmanager
def calling(
    address: str, body: bytes, scratch: Path, callers: int = CONNECTIONS, pause: float = 0.0
) -> Iterator[Calling]:
    """Load on a model's address for as long as the block lasts."""
    request, out = scratch / "request.json", scratch / "requests"
    request.write_bytes(body)
    command = [sys.executable, "-m", "benchmarks.release.load", address, str(request), str(out)]
    process = subprocess.Popen(
        [*command, str(callers), str(pause)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    under_way = Calling()
    try:
        if process.stdout.readline() != b"calling\n":
            raise RefusedError("the load did not begin")
        yield under_way
    finally:
        process.stdin.close()
        try:
            process.wait(PATIENCE + 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
    under_way.seen = Seen(np.fromfile(out).reshape(-1, 4))


def _call(
    where: Any, body: bytes, pause: float, ended: threading.Event, seen: array[float]
) -> None:
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=PATIENCE)
    path = f"{where.path}/invocations"
    while not ended.is_set():
        began = time.monotonic()
        version, status = NONE, NONE
        try:
            connection.request("POST", path, body, HEADERS)
            answer = connection.getresponse()
            answer.read()
            status, version = answer.status, int(answer.headers.get("x-model-version", NONE))
        except (OSError, http.client.HTTPException):
            # The next request opens a connection; this one has failed.
            connection.close()
        seen.extend((began, time.monotonic(), version, status))
        if pause:
            time.sleep(pause)
    connection.close()


def main() -> int:
    """ADDRESS BODY OUT CALLERS PAUSE: call until the standard input ends, then write OUT."""
    address, request, out, callers, pause = sys.argv[1:]
    where, body = urlsplit(address), Path(request).read_bytes()
    ended = threading.Event()
    seen = [array("d") for _ in range(int(callers))]
    threads = [
        threading.Thread(target=_call, args=(where, body, float(pause), ended, one)) for one in seen
    ]
    for thread in threads:
        thread.start()
    print("calling", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    with Path(out).open("wb") as stream:
        for one in seen:
            one.tofile(stream)
    return 0


if __name__ == "__main__":
    sys.exit(main())
