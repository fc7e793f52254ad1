"""A bundle started as it will be in production, asked in private: it never takes traffic."""

from __future__ import annotations

import http.client
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines.release.targets.worker import await_ready, start_worker


@dataclass(frozen=True)
class PrivateWorker:
    """Where it answers (HTTP over a socket file), and how long it took to be ready."""

    path: Path
    seconds_to_ready: float

    def connect(self, seconds: float = 10.0) -> http.client.HTTPConnection:
        """A connection to it that is kept open from request to request."""
        return _SocketConnection(self.path, seconds)


@contextmanager
def private_workers(*bundles: Path) -> Iterator[tuple[PrivateWorker, ...]]:
    """One worker of each bundle, started at once and ended with the block; their logs are not kept.

    Raises TargetError where one is not what was built, or does not answer its golden rows.
    """
    with ExitStack() as stack:
        started = [stack.enter_context(_started(bundle)) for bundle in bundles]
        workers = []
        for process, folder, began in started:
            info = await_ready([process], folder, folder / "worker.log")[0]
            workers.append(PrivateWorker(info.http, round(time.monotonic() - began, 3)))
        yield tuple(workers)


@contextmanager
def _started(bundle: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, float]]:
    with tempfile.TemporaryDirectory(prefix="mlops-private-", ignore_cleanup_errors=True) as name:
        folder, began = Path(name), time.monotonic()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            # Attached: a run that is killed here must not leave a worker that nobody knows of.
            process = start_worker(
                bundle, folder, folder, folder / "worker.log", listener, attached=True
            )
        try:
            yield process, folder, began
        finally:
            if process.stdin is not None:
                process.stdin.close()
            # Nobody waits for an answer of it, and what it wrote is not kept.
            process.kill()
            process.wait()


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
