"""What production has and a laptop has not: PostgreSQL, an MLflow server, a bucket, a webhook."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import sqlalchemy as sa


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Databases:
    """Two databases of one role, whose password is found wherever it leaks; addresses are plain."""

    password: str
    dagster: str
    mlflow: str


@contextmanager
def databases(server: str) -> Iterator[Databases]:
    """Made on the server of the address `server`, and dropped at the end."""
    name = f"mlops_production_{uuid.uuid4().hex[:12]}"
    password = f"pg-{uuid.uuid4().hex}"
    url = sa.engine.make_url(server)
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
    books = {book: f"{name}_{book}" for book in ("dagster", "mlflow")}
    with engine.connect() as admin:
        admin.execute(sa.text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
        for book in books.values():
            admin.execute(sa.text(f"CREATE DATABASE {book} OWNER {name}"))
    own = url.set(username=name, password=password, drivername="postgresql")
    addresses = {
        book: own.set(database=database).render_as_string(hide_password=False)
        for book, database in books.items()
    }
    try:
        yield Databases(password, **addresses)
    finally:
        with engine.connect() as admin:
            for book in books.values():
                admin.execute(sa.text(f"DROP DATABASE IF EXISTS {book} WITH (FORCE)"))
            admin.execute(sa.text(f"DROP ROLE IF EXISTS {name}"))
        engine.dispose()


@dataclass
class MlflowServer:
    """`mlflow server` as a process of its own, which keeps artifacts and hands them out by HTTP."""

    database: str
    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to start it; `wait` says when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        settings = {
            "MLFLOW_BACKEND_STORE_URI": self.database.replace("://", "+psycopg2://", 1),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, seconds: float = 100) -> None:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def bucket(name: str) -> Iterator[int]:
    """An S3 twin with one bucket, on the port that is given."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        region_name="us-east-1",
    ).create_bucket(Bucket=name)
    try:
        yield port
    finally:
        server.stop()


@dataclass
class Webhook:
    """Takes the alerts that are posted to it."""

    port: int
    posted: list[dict[str, Any]]


@contextmanager
def webhook() -> Iterator[Webhook]:
    posted: list[dict[str, Any]] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Takes) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Webhook(server.server_port, posted)
        server.shutdown()
