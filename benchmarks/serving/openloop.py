"""An open-loop load: one request at each tick of a constant rate, whatever the answers do.

`python -m benchmarks.serving.openloop PORT PATH BODY RATE SECONDS OUT` writes the raw samples, in
seconds, as 64-bit floats. A sample begins when its request was to be sent, not when it was: a
server that stalls is charged for all that waited (coordinated omission, G. Tene). One thread waits
in select(), whose timeout counts microseconds; an event loop's timers count milliseconds.
"""

from __future__ import annotations

import ctypes
import gc
import select
import socket
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import ROOT
from benchmarks.serving.wire import Responses, connect, request
from benchmarks.serving.wrk import LoadError

CONNECTIONS = 64
"""How many requests may be unanswered at once; further ones wait, and their time runs."""
PATIENCE = 10.0
PR_SET_TIMERSLACK = 29


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    responses: Responses
    due: float = 0.0

    def fileno(self) -> int:
        return self.socket.fileno()


def measure(
    port: int, path: str, body: Path, rate: float, seconds: float, out: Path
) -> array[float]:
    """The samples of a load by a process of its own. Raises LoadError."""
    load = [str(port), path, str(body), f"{rate:.3f}", f"{seconds:.3f}", str(out)]
    command = [sys.executable, "-m", "benchmarks.serving.openloop", *load]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise LoadError(f"open-loop load: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    samples: array[float] = array("d")
    samples.frombytes(out.read_bytes())
    return samples


def run(port: int, wanted: bytes, rate: float, seconds: float) -> array[float]:
    """Send, and return one sample for each request. Raises LoadError."""
    free = [_Connection(connect(port), Responses()) for _ in range(CONNECTIONS)]
    busy: set[_Connection] = set()
    _precise_timers()
    gc.disable()
    samples: array[float] = array("d")
    total = max(1, round(rate * seconds))
    sent = 0
    began = time.perf_counter() + 0.01
    while len(samples) < total:
        now = time.perf_counter()
        while sent < total and free and (due := began + sent / rate) <= now:
            connection = free.pop()
            connection.due = due
            connection.socket.send(wanted)
            busy.add(connection)
            sent += 1
        wait = began + sent / rate - now if sent < total and free else PATIENCE
        readable, _, _ = select.select(busy, (), (), max(0.0, wait))
        if not readable and wait >= PATIENCE:
            raise LoadError(f"{len(busy)} requests were not answered within {PATIENCE:g} s")
        for connection in readable:
            data = connection.socket.recv(65536)
            if not data:
                raise LoadError("the server closed a connection")
            for status, _ in connection.responses.feed(data):
                if status != 200:
                    raise LoadError(f"the server answered {status}")
                samples.append(time.perf_counter() - connection.due)
                busy.discard(connection)
                free.append(connection)
    return samples


def _precise_timers() -> None:
    """Linux wakes a waiting process up to 50 µs late unless it asks not to."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def main() -> int:
    port, path, body, rate, seconds, out = sys.argv[1:]
    wanted = request(path, Path(body).read_bytes())
    try:
        samples = run(int(port), wanted, float(rate), float(seconds))
    except (LoadError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    Path(out).write_bytes(samples.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
