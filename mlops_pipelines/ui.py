"""Opens the Dagster UI and the MLflow UI on the state of a project, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from mlops_pipelines.errors import MlopsError
from mlops_pipelines.home import prepare_home
from mlops_pipelines.project import Project
from mlops_pipelines.store import write_atomically

PATIENCE = 120.0
"""Seconds for a UI to answer before it counts as failed."""


@dataclass(frozen=True)
class Page:
    """One UI: how it is started, where it answers, and its log."""

    name: str
    command: Sequence[str]
    port: int
    ready: str
    log: Path
    opens_at: str = ""

    @property
    def url(self) -> str:
        """Where people open it."""
        return f"http://127.0.0.1:{self.port}"


def run(project: Project, dagster_port: int, mlflow_port: int) -> int:
    """Start both, say where they are, and wait; returns an exit code, with both stopped."""
    prepare_home(project)
    pages = _pages(project, dagster_port, mlflow_port)
    for page in pages:
        _free(page)
    # Links from Dagster's pages lead to MLflow's.
    os.environ["MLOPS_MLFLOW_UI"] = f"http://127.0.0.1:{mlflow_port}"
    pid_file = project.home / "ui.pid"
    write_atomically(pid_file, str(os.getpid()).encode())
    running: list[tuple[Page, subprocess.Popen[bytes]]] = []
    # SIGTERM is a Ctrl-C that comes from a program.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for page in pages:
            running.append((page, _start(page, project.root)))
        for page, process in running:
            _wait(page, process)
            click.echo(f"{page.name:<8} {page.url}{page.opens_at}")
        click.echo("Ctrl-C stops both." if len(pages) == 2 else "Ctrl-C stops it.")
        while True:
            for page, process in running:
                if process.poll() is not None:
                    raise MlopsError(_ended(page, process))
            time.sleep(0.5)
    except KeyboardInterrupt:
        click.echo("\nstopping ...")
        return 0
    finally:
        _stop([process for _, process in running])
        pid_file.unlink(missing_ok=True)


def _pages(project: Project, dagster_port: int, mlflow_port: int) -> list[Page]:
    logs = project.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    dagster = [sys.executable, "-m", "dagster", "dev", "-w", str(project.root / "workspace.yaml")]
    pages = [
        Page(
            "Dagster",
            [*dagster, "--host", "127.0.0.1", "--port", str(dagster_port)],
            dagster_port,
            "/server_info",
            logs / "dagster.log",
        )
    ]
    if project.tracking_uri.startswith("http"):
        click.echo(f"MLflow   is the server of {project.environment_name}")
        return pages
    mlflow = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    books = ["--backend-store-uri", project.tracking_uri]
    artifacts = ["--default-artifact-root", project.artifact_root]
    command = [*mlflow, "--port", str(mlflow_port), *books, *artifacts]
    # MLflow would open its pages for language models.
    opens_at = "/#/experiments?workflowType=machine_learning"
    pages.append(Page("MLflow", command, mlflow_port, "/health", logs / "mlflow.log", opens_at))
    return pages


def _free(page: Page) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", page.port))
        except OSError as error:
            option = f"--{page.name.lower()}-port"
            raise MlopsError(
                f"port {page.port} of {page.name} is taken; stop what uses it, or choose another "
                f"with: mlops ui {option} {page.port + 1}"
            ) from error


def _start(page: Page, root: Path) -> subprocess.Popen[bytes]:
    with page.log.open("wb") as log:
        return subprocess.Popen(
            page.command, cwd=root, stdout=log, stderr=log, start_new_session=True
        )


def _wait(page: Page, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise MlopsError(_ended(page, process))
        try:
            with urllib.request.urlopen(page.url + page.ready, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise MlopsError(f"{page.name} did not answer within {PATIENCE:.0f} s; see {page.log}")


def _ended(page: Page, process: subprocess.Popen[bytes]) -> str:
    lines = page.log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it said nothing"
    return f"{page.name} ended with code {process.returncode}: {last}; see {page.log}"


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End each with its children: asked, asked again, and after some seconds made to."""
    # A shell's background job starts deaf to the first of them.
    for number, seconds in ((signal.SIGINT, 8), (signal.SIGTERM, 7), (signal.SIGKILL, 5)):
        for process in processes:
            _signal(process, number)
        deadline = time.monotonic() + seconds
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
