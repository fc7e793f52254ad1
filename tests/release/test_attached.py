"""The worker of the `serves` gate ends with the run that started it, even a killed one."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from tests.release.conftest import World

GATE = """
import sys
from pathlib import Path
from mlops_pipelines.release.serves import serves
serves(Path(sys.argv[1]))
"""


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def test_a_killed_gate_leaves_no_worker(world: World) -> None:
    bundle = str(world.bundle(1))

    def workers() -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if bundle in (process.info["cmdline"] or []) and "--attached" in process.info["cmdline"]
        ]

    gate = subprocess.Popen([sys.executable, "-c", GATE, bundle])
    until(workers)
    gate.send_signal(signal.SIGKILL)
    gate.wait()
    # A zombie's command line is empty, so a worker that nobody reaps counts as gone.
    until(lambda: not workers())
