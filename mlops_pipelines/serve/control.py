"""Talks to running workers through the control sockets in their folder.

A worker is `v<version>-<pid>.ctl` there, and answers one JSON line with one JSON line.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

NAME = re.compile(r"v(\d+)-(\d+)\.ctl")
# sun_path of Linux less its final zero (unix(7)).
SOCKET_PATH_BYTES = 107
ANSWER_BYTES = 65_536


class ControlError(Exception):
    """A worker refused what it was asked; `str()` is its reason."""


@dataclass(frozen=True)
class WorkerInfo:
    """A live worker; `state` is waiting, serving, draining, or silent if it does not answer.

    `started` is in seconds since the epoch; `http` and `ctl` are paths of its private sockets,
    `listen` is the public host and port. A silent worker is known by its version and pid alone.
    """

    version: int
    pid: int
    ctl: Path
    http: Path
    state: str
    model: str = ""
    bundle: str = ""
    started: float = 0.0
    connections: int = 0
    listen: tuple[str, int] | None = None


def ask(ctl_path: Path, request: Mapping[str, Any], timeout: float = 10.0) -> dict[str, Any]:
    """Send one request to a worker and return its reply.

    Raises ControlError (it refused), TimeoutError (it does not answer), and FileNotFoundError or
    ConnectionError (it is gone).
    """
    reply, listener = _exchange(ctl_path, request, timeout)
    if listener is not None:
        listener.close()
    return reply


def receive_listener(ctl_path: Path, timeout: float = 10.0) -> socket.socket:
    """The public listening socket of a worker, to be given to others. Raises as `ask` does."""
    _, listener = _exchange(ctl_path, {"do": "hand_over"}, timeout)
    if listener is None:
        raise ControlError(f"{ctl_path.name} sent no socket")
    return listener


def workers(control_dir: Path, timeout: float = 2.0) -> list[WorkerInfo]:
    """The live workers of a folder, the longest running first; sockets of dead ones are ignored."""
    paths = [path for path in control_dir.glob("v*.ctl") if NAME.fullmatch(path.name)]
    with ThreadPoolExecutor(max(1, len(paths))) as pool:
        found = pool.map(lambda path: _worker(path, timeout), paths)
        return sorted((info for info in found if info), key=lambda info: (info.started, info.pid))


def pid_of(ctl_path: Path) -> int:
    """The process id in a control socket's name. Raises ValueError."""
    match = NAME.fullmatch(ctl_path.name)
    if match is None:
        raise ValueError(f"{ctl_path.name}: expected v<version>-<pid>.ctl")
    return int(match[2])


def _worker(ctl: Path, timeout: float) -> WorkerInfo | None:
    try:
        said = ask(ctl, {"do": "who"}, timeout)
    except TimeoutError:
        version = int(ctl.name[1:].partition("-")[0])
        return WorkerInfo(version, pid_of(ctl), ctl, ctl.with_suffix(".http"), "silent")
    except (FileNotFoundError, ConnectionError):
        return None
    listen = said["listen"]
    return WorkerInfo(
        version=said["version"],
        pid=said["pid"],
        ctl=ctl,
        http=Path(said["http"]),
        state=said["state"],
        model=said["model"],
        bundle=said["bundle"],
        started=said["started"],
        connections=said["connections"],
        listen=None if listen is None else (listen[0], listen[1]),
    )


def _exchange(
    ctl_path: Path, request: Mapping[str, Any], timeout: float
) -> tuple[dict[str, Any], socket.socket | None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(ctl_path))
        connection.sendall(orjson.dumps(request) + b"\n")
        answer, descriptors, _, _ = socket.recv_fds(connection, ANSWER_BYTES, 1)
        listener = socket.socket(fileno=descriptors[0]) if descriptors else None
        while answer and not answer.endswith(b"\n"):
            more = connection.recv(ANSWER_BYTES)
            if not more:
                break
            answer += more
    if not answer.endswith(b"\n"):
        raise ConnectionResetError(f"{ctl_path.name} ended without an answer")
    reply: dict[str, Any] = orjson.loads(answer)
    if reply.get("ok") is False:
        raise ControlError(reply["error"])
    return reply, listener
