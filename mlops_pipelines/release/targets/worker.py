"""Starts one worker process of a bundle, and asks it whether it may take traffic."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.signing import check, verify_environment
from mlops_pipelines.serve.control import WorkerInfo, workers

READY_SECONDS = 30.0
LOG_BYTES = 1 << 20
KEPT_ENVIRONMENT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "MLOPS_SERVE_TOKENS",
    "MLOPS_SERVE_TOKENS_FILE",
    "PATH",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)
"""What a worker inherits: it needs no credential of the run that starts it but its callers'."""


def start_worker(
    bundle: Path,
    log_dir: Path,
    control_dir: Path,
    worker_log: Path,
    listener: socket.socket,
    *,
    attached: bool = False,
) -> subprocess.Popen[bytes]:
    """A worker of `bundle` in a session of its own, which outlives this process unless `attached`.

    It waits: it answers on its private socket, and takes no traffic from `listener` yet. The log
    of one that is attached is not kept, and so not synced. Raises
    TargetError where the bundle is not what was built, or signed.
    """
    check(bundle)
    command = [*serve_command(bundle), "--listen-fd", str(listener.fileno())]
    command += ["--log-dir", str(log_dir), "--control-dir", str(control_dir)]
    command += ["--attached", "--no-fsync"] if attached else []
    with _bounded(worker_log).open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log_dir,
            env=serve_environment(bundle),
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )
    # Whoever started it may live for weeks; an ended worker must not stay as a zombie.
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
    return process


def serve_command(bundle: Path) -> list[str]:
    """The bundle's own server; `-P` keeps it from importing what lies in the working directory."""
    return [sys.executable, "-P", "-m", "mlops_pipelines.serve", "--bundle", str(bundle)]


def serve_environment(bundle: Path) -> dict[str, str]:
    """What that server inherits."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    kept |= verify_environment()
    # The manifest lists every file of a bundle: no compiled code may appear beside them.
    return kept | {"PYTHONPATH": str(bundle / "code"), "PYTHONDONTWRITEBYTECODE": "1"}


def await_ready(
    started: Sequence[subprocess.Popen[bytes]],
    control_dir: Path,
    worker_log: Path,
    seconds: float = READY_SECONDS,
) -> list[WorkerInfo]:
    """The started workers, once each answers its golden rows as at training time.

    Raises TargetError with the end of their log where one ends, disagrees or takes too long.
    """
    deadline = time.monotonic() + seconds
    ready: dict[int, WorkerInfo] = {}
    reason = "it did not open its control socket"
    while len(ready) < len(started):
        known = {info.pid: info for info in workers(control_dir)}
        for process in started:
            if process.pid in ready:
                continue
            if process.poll() is not None:
                raise TargetError(
                    f"a new worker ended with exit code {process.returncode} before it was ready: "
                    f"{tail(worker_log)}"
                )
            if process.pid in known:
                answer = ready_answer(known[process.pid].http)
                reason = str(answer.get("reason", "it does not answer"))
                if answer.get("ready"):
                    ready[process.pid] = known[process.pid]
        if time.monotonic() > deadline:
            raise TargetError(
                f"a new worker was not ready within {seconds:g} s: {reason}; {tail(worker_log)}"
            )
        if len(ready) < len(started):
            time.sleep(0.02)
    return [ready[process.pid] for process in started]


def ready_answer(http_socket: Path) -> Mapping[str, Any]:
    """What a worker says of itself on /health/ready of its private socket; {} without an answer."""
    try:
        _, body = request(http_socket, "GET", "/health/ready")
        answer = json.loads(body)
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return answer if isinstance(answer, dict) else {}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
    http_socket: Path, method: str, path: str, body: bytes | None = None, seconds: float = 10.0
) -> tuple[int, bytes]:
    """One HTTP request over a worker's private socket: status and body."""
    connection = _UnixConnection(http_socket, seconds)
    try:
        headers = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def tail(worker_log: Path, characters: int = 600) -> str:
    """The end of a worker's log as one line."""
    try:
        with worker_log.open("rb") as stream:
            stream.seek(max(0, worker_log.stat().st_size - characters))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (
        f"{worker_log} ends with: {' / '.join(lines[-4:])}" if lines else f"{worker_log} is empty"
    )


def _bounded(worker_log: Path) -> Path:
    """The log to append to; a full one is set aside first, in place of the one before it."""
    try:
        if worker_log.stat().st_size > LOG_BYTES:
            worker_log.replace(worker_log.with_name(worker_log.name + ".1"))
    except FileNotFoundError:
        pass
    return worker_log
