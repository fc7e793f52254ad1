"""A real HAProxy as a process of this machine, small real servers behind it, and callers."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlops_pipelines.release.gateway.admin import Admin
from mlops_pipelines.release.gateway.gateway import CONFIGURATION, Gateway
from mlops_pipelines.release.gateway.render import Listening
from mlops_pipelines.release.gateway.state import Role, Server
from tests.conftest import require

ANSWERER = Path(__file__).with_name("answerer.py")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class ProcessRunner:
    """HAProxy as a child of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.stats_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.reloads = self.checked = 0
        self.patience = 3

    @property
    def listening(self) -> Listening:
        return Listening(
            f"127.0.0.1:{self.port}",
            f"127.0.0.1:{self.stats_port}",
            str(self.folder),
            patience=self.patience,
        )

    def refusal(self, file: str) -> str | None:
        self.checked += 1
        return refusal(self.folder / file)

    def ensure(self) -> str:
        if self.process is not None and self.process.poll() is None:
            return ""
        self.process = subprocess.Popen(
            ["haproxy", "-W", "-db", "-f", str(self.folder / CONFIGURATION)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(500):
            with suppress(Exception):
                Admin(self.folder / "admin.sock").process()
                return "the gateway did not run: started"
            time.sleep(0.01)
        raise AssertionError("HAProxy did not start")

    def reload(self) -> None:
        assert self.process is not None
        self.reloads += 1
        self.process.send_signal(signal.SIGUSR2)

    def end(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def refusal(file: Path) -> str | None:
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "[ALERT]" in line]
    return None if done.returncode == 0 else said[0]


@dataclass
class Replica:
    """One small server, which can be told to misbehave."""

    process: subprocess.Popen[bytes]
    port: int
    version: int
    folder: Path

    def server(self, role: Role, most: int = 256) -> Server:
        name = f"m-v{self.version}-{self.port}"
        return Server(name, "127.0.0.1", self.port, self.version, f"b{self.version}", role, most)

    def tell(self, what: str) -> None:
        (self.folder / what).touch()

    def untell(self, what: str) -> None:
        (self.folder / what).unlink()

    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().split() if file.exists() else []


@dataclass
class World:
    """A gateway and its servers."""

    gateway: Gateway
    runner: ProcessRunner
    folder: Path
    replicas: list[Replica] = field(default_factory=list)

    def replica(self, version: int) -> Replica:
        port = free_port()
        folder = self.folder / f"server-{port}"
        folder.mkdir()
        process = subprocess.Popen([sys.executable, ANSWERER, str(port), str(version), folder])
        made = Replica(process, port, version, folder)
        self.replicas.append(made)
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return made
            time.sleep(0.01)
        raise AssertionError("the server did not start")

    def ask(
        self, path: str = "/models/m/invocations", body: bytes = b"{}", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.runner.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, named)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def versions(self, requests: int) -> Counter[str]:
        return Counter(self.ask()[1].get("x-model-version", "") for _ in range(requests))


@pytest.fixture
def world() -> Iterator[World]:
    if shutil.which("haproxy") is None:
        require("docker", "there is no haproxy on this machine")
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))
    runner = ProcessRunner(folder)
    made = World(Gateway(folder, runner), runner, folder)
    try:
        yield made
    finally:
        runner.end()
        for replica in made.replicas:
            with suppress(ProcessLookupError):
                os.kill(replica.process.pid, signal.SIGCONT)
            replica.process.kill()
            replica.process.wait()
        shutil.rmtree(folder)


@dataclass
class Seen:
    """What callers saw: answers by version, failures, and when the last of them was."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    slowest: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def await_answers(self, version: str, more: int = 50) -> None:
        """Wait until `version` has answered so many more requests."""
        target = self.answers[version] + more
        deadline = time.monotonic() + 20
        while self.answers[version] < target:
            assert time.monotonic() < deadline, f"{self.answers}, {self.failures[:3]}"
            time.sleep(0.005)


@contextmanager
def callers(port: int, path: str = "/models/m/invocations", number: int = 8) -> Iterator[Seen]:
    """Callers that ask without pause, each over its own kept connection."""
    seen = Seen()

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while not seen.ended.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", path, b"{}")
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    seen.answers[answer.headers["x-model-version"]] += 1
                else:
                    seen.failures.append((time.monotonic(), str(answer.status)))
            except (OSError, http.client.HTTPException) as error:
                seen.failures.append((time.monotonic(), type(error).__name__))
                connection.close()
            seen.slowest = max(seen.slowest, time.monotonic() - began)
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        seen.ended.set()
        for thread in threads:
            thread.join()
