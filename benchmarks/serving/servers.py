"""The servers that are compared: how each is started, asked, measured and ended."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import PeerError, environment
from benchmarks.serving.model import Model

PEERS = Path(__file__).with_name("peers")
KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "SSL_CERT_FILE")
ALIKE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NO_TELEMETRY = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OTEL_SDK_DISABLED": "true",
}
START_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """What a command is made of: its Python, the model, its port and its own folder."""

    python: Path
    model: Model
    port: int
    folder: Path


@dataclass(frozen=True)
class Server:
    """One server; `requirements` names its environment, None for this project's own."""

    name: str
    requirements: str | None
    command: Callable[[Place], list[str]]
    path: str
    form: str
    settings: dict[str, str] = field(default_factory=dict)
    onnx: bool = False
    label_only: bool = False


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    pid: int
    port: int
    url: str
    folder: Path
    log_dir: Path
    ready_seconds: float

    def memory(self) -> float:
        """Resident set size of all its processes, in MB (10⁶ bytes)."""
        return sum(_rss(process) for process in family(self.pid)) / 1e6


@contextmanager
def running(server: Server, model: Model, folder: Path) -> Iterator[Running]:
    """Start it in this folder, wait until it answers the row rightly, end it. Raises PeerError."""
    if server.onnx and not (model.files / "model.onnx").exists():
        raise PeerError("not started: the release did not convert the model to ONNX")
    python = Path(sys.executable)
    if server.requirements is not None:
        python = environment(PEERS / f"{server.requirements}.txt")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    place = Place(python, model, port, folder)
    command = server.command(place)
    began = time.perf_counter()
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(server, place),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_answer(server, model, process, port, folder)
        seconds = time.perf_counter() - began
        url = f"http://127.0.0.1:{port}{server.path}"
        yield Running(process.pid, port, url, folder, folder / "log", seconds)
    finally:
        end(process)


def family(pid: int) -> list[Any]:
    """The process and all that it started."""
    import psutil

    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and everything it started, by their ids."""
    import psutil

    processes = family(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=5)
    for one in alive:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _rss(process: Any) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _environment(server: Server, place: Place) -> dict[str, str]:
    shared = {name: os.environ[name] for name in KEPT if name in os.environ} | ALIKE
    if server.requirements is None:
        from mlops_pipelines.release.targets.worker import serve_environment

        return shared | serve_environment(bundle_in(place, server))
    return (
        shared
        | NO_TELEMETRY
        | {
            "BENCH_FILES": str(place.model.files),
            "BENTOML_HOME": str(place.folder / "bentoml"),
            "PATH": f"{place.python.parent}:{shared.get('PATH', os.defpath)}",
            "PYTHONPATH": str(PEERS),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        | server.settings
    )


def bundle_in(place: Place, server: Server) -> Path:
    """The bundle that this server of ours serves."""
    return place.model.bundle if server.onnx else place.model.sklearn_bundle


def _await_answer(
    server: Server, model: Model, process: subprocess.Popen[bytes], port: int, folder: Path
) -> None:
    """Until the first row is answered with 200, and rightly."""
    body = model.body(server.form)
    deadline = time.monotonic() + START_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PeerError(f"not started: it ended with {process.returncode}: {_tail(folder)}")
        try:
            status, text = post(port, server.path, body, header=model.header(server.form))
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)
            continue
        if status == 200:
            _check(server, model, text)
            return
        reason = f"HTTP {status} {text[:160].decode('utf-8', 'replace')}"
        time.sleep(0.01)
    raise PeerError(f"not started: within {START_SECONDS:g} s {reason}: {_tail(folder)}")


def post(
    port: int, path: str, body: bytes, seconds: float = 10.0, header: Sequence[str] = ()
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        headers = {"content-type": "application/json"}
        if header:
            headers = {"content-type": "application/octet-stream", header[0]: header[1]}
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _check(server: Server, model: Model, text: bytes) -> None:
    """All servers must give one answer, or they would not serve one model."""
    found = answered(json.loads(text))
    wanted = model.prediction if server.label_only else model.score
    if not any(abs(value - wanted) < 1e-4 for value in found):
        raise PeerError(f"not the same model: it answers {found[:3]}, expected {wanted:.6f}")


def answered(document: Any) -> list[float]:
    """The numbers in an answer's scores, predictions, or output tensors."""
    if isinstance(document, dict):
        document = document.get("scores") or document.get("predictions") or document.get("outputs")
    if isinstance(document, list) and document and isinstance(document[0], dict):
        document = document[0]["data"]
    return [float(value) for value in document or ()]


def _tail(folder: Path) -> str:
    text = (folder / "output").read_text("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1][:200] if lines else "it said nothing"
