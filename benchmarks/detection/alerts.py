"""The peers' alerts on the same windows, each in its own environment and process."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.common import WORK
from benchmarks.detection.windows import Batch
from benchmarks.environments import PeerError, environment

PEERS = Path(__file__).with_name("peers")


class Peer:
    """A peer's process, which answers batch after batch. Raises PeerError."""

    def __init__(self, name: str) -> None:
        python = environment(PEERS / f"{name}.txt")
        self.name = name
        self._process = subprocess.Popen(
            [python, PEERS / f"{name}_alerts.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def alerts(self, batch: Batch, most: Mapping[str, int]) -> dict[str, list[bool]]:
        """Whether any column of a window raised an alert, of the first so many of each fault."""
        chosen = {name: batch.windows[name][:some] for name, some in most.items() if some}
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            batch.reference.to_parquet(Path(folder) / "reference.parquet")
            every = [window for windows in chosen.values() for window in windows]
            rows = pd.concat(every, ignore_index=True)
            rows.to_parquet(Path(folder) / "windows.parquet")
            found = self._ask([folder, batch.n])
        answers = iter(found)
        return {name: [bool(next(answers)) for _ in windows] for name, windows in chosen.items()}

    def _ask(self, question: object) -> list[object]:
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline()
        if not answer:
            raise PeerError("ended without an answer")
        found: list[object] = json.loads(answer)
        return found
