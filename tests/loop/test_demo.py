"""`mlops demo` as a user runs it: killed, then told to its end; it clears what it made alone."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(400)

MAIN = "from mlops_pipelines.cli import main; main()"

STEPS = {
    "train",
    "release",
    "traffic",
    "night",
    "switch",
    "refused",
    "decision",
    "rollback",
    "replay",
    "lineage",
    "versions",
}


@pytest.fixture
def home(project: Path, tmp_path: Path) -> Iterator[Path]:
    """The home folder of a copy of this project; nothing works for it when the test ends."""
    yield tmp_path / "home"
    for worker in workers_of(tmp_path / "home"):
        worker.kill()


def test_killed_then_told_to_its_end(home: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    command = [sys.executable, "-c", MAIN, "demo", "--json", str(seen)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as killed:
        # Only from here on can a kill leave a worker behind.
        while not serving(home):
            assert killed.poll() is None, "the demo ended before it started a worker"
            time.sleep(0.1)
        time.sleep(random.Random(7).uniform(0, 4))
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not seen.exists()
    assert serving(home), "the kill left no worker behind, so it proves nothing"

    told = subprocess.run(command, capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout + told.stderr
    assert "Traceback" not in told.stdout + told.stderr
    found = json.loads(seen.read_text())
    assert (found["ok"], found["failure"]) == (True, "")
    assert {step["step"] for step in found["steps"]} >= STEPS
    assert workers_of(home) == []

    strangers_model_is_left_alone(command, home)


def strangers_model_is_left_alone(command: list[str], home: Path) -> None:
    """A model that no demo made keeps the demo from clearing the home it is in."""
    with closing(sqlite3.connect(home / "mlflow.db")) as books:
        books.execute("INSERT INTO registered_models (name) VALUES ('churn')")
        books.commit()
    before = sorted(home.rglob("*"))

    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert found.returncode == 1
    assert "holds versions of churn that no demo made" in found.stdout + found.stderr
    assert sorted(home.rglob("*")) == before


def workers_of(home: Path) -> list[psutil.Process]:
    """The workers that run a bundle of `home`, those of a gate among them."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "mlops_pipelines.serve" in (process.info["cmdline"] or [])
        and any(str(home) in part for part in process.info["cmdline"])
    ]


def serving(home: Path) -> list[psutil.Process]:
    """The workers that take traffic or are about to: they log into the home folder."""
    place = str(home / "serving")
    return [w for w in workers_of(home) if any(place in part for part in w.info["cmdline"])]
