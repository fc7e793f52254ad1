"""One session before the UIs: trained, released, watched, trained again, rolled back by hand.

Each step is a fixture of the package, so that every test can be run alone, and a step that fails is
told at once by all that need it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect, sync_playwright

from tests.conftest import PROJECT_FILES, ROOT, require
from tests.ui.desk import MLOPS, MODEL, Desk, today, version

ROWS = 40


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Both UIs on a project of the session's own, and a browser; all ended afterwards."""
    folder = tmp_path_factory.mktemp("ui")
    root = _project(folder / "project")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "DAGSTER_"))}
    dagster, mlflow = _free_ports(2)
    environment = {
        **kept,
        "MLOPS_PROJECT": str(root),
        "MLOPS_HOME": str(folder / "home"),
        "MLOPS_MLFLOW_UI": f"http://127.0.0.1:{mlflow}",
    }
    with ExitStack() as stack:
        page = stack.enter_context(_chromium(folder / "chromium")).new_page()
        process = subprocess.Popen(
            [
                *(MLOPS, "ui"),
                *("--dagster-port", str(dagster), "--mlflow-port", str(mlflow)),
            ],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            # Who is started in the background of a shell inherits that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        desk = Desk(
            root,
            environment,
            process,
            f"http://127.0.0.1:{dagster}",
            f"http://127.0.0.1:{mlflow}",
            page,
        )
        assert process.stdout is not None
        try:
            said = [process.stdout.readline() for _ in range(3)]
            assert "Ctrl-C stops both.\n" in said, said
            yield desk
        finally:
            if process.poll() is None:
                desk.stop()
            process.stdout.close()
            desk.mlops("stop", MODEL)


@dataclass(frozen=True)
class Served:
    """A version that answers: where, and what it said to rows that it was asked."""

    address: str
    version: int


@pytest.fixture(scope="package")
def trained(desk: Desk) -> int:
    """Version 1, from the job's page."""
    desk.launch_job("train")
    return 1


@pytest.fixture(scope="package")
def released(desk: Desk, trained: int) -> Served:
    """Version 1, released by the sensor `release_and_retrain` without a hand."""
    desk.until(f"/assets/{MODEL}/deployment?view=overview", "passed its gates")
    return Served(desk.address(), trained)


@pytest.fixture(scope="package")
def watched(desk: Desk, released: Served) -> str:
    """Today, after rows were asked and labelled, evaluated from the job's page."""
    from sklearn.datasets import load_breast_cancer

    rows, truth = load_breast_cancer(return_X_y=True, as_frame=True)
    body = {"dataframe_split": rows.head(ROWS).to_dict(orient="split", index=False)}
    answer = httpx.post(f"{released.address}/invocations", json=body, timeout=60).json()
    labels = [
        {"prediction_id": name, "label": int(label)}
        for name, label in zip(answer["prediction_ids"], truth.head(ROWS), strict=True)
    ]
    told = httpx.post(f"{released.address}/feedback", json={"labels": labels}, timeout=60)
    assert told.json()["accepted"] == ROWS
    day = datetime.now(UTC).date().isoformat()
    desk.launch_job("monitor", today)
    return day


@pytest.fixture(scope="package")
def released_by_hand(desk: Desk, watched: str) -> Served:
    """Version 2: each step by hand, after the sensor that would take them was switched off."""
    switch = desk.switch("release_and_retrain")
    switch.uncheck(force=True)
    expect(desk.switch("release_and_retrain")).not_to_be_checked()
    desk.materialize("model")
    desk.launch_job("release", version(2))
    return Served(desk.address(), 2)


@pytest.fixture(scope="package")
def rolled_back(desk: Desk, released_by_hand: Served) -> Served:
    """Version 1 again, by materializing `deployment` for it."""
    desk.materialize("deployment", version(1))
    return Served(desk.address(), 1)


@contextmanager
def _chromium(profile: Path) -> Iterator[BrowserContext]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        require("browser", "there is no chromium on the PATH")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=found,
            headless=True,
            viewport={"width": 1400, "height": 900},
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        context.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield context
        context.close()


def _project(root: Path) -> Path:
    (root / "assets").mkdir(parents=True)
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "assets" / MODEL, root / "assets" / MODEL)
    (root / "resources").mkdir()
    (port,) = _free_ports(1)
    last = min(port + 9, 65535)
    (root / "resources" / "local.yaml").write_text(
        f"target: {{type: process, ports: [{port}, {last}]}}\n"
    )
    return root


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(each.getsockname()[1]) for each in held]
