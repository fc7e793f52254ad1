"""Logs as dead and living workers leave them, and stores to compact them into."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store


class Logs:
    """A worker's log folder beside a store, in a folder of their own."""

    def __init__(self, root: Path, dead: int) -> None:
        self.root = root
        self.log_dir = root / "log"
        self.log_dir.mkdir()
        self.store = Store(str(root / "store"))
        self.dead = dead
        self._started = time.time_ns() // 1_000_000

    def write(
        self,
        lines: Sequence[Any],
        *,
        version: int = 1,
        columns: Sequence[str] = ("x",),
        kind: str = "predictions",
        pid: int | None = None,
        end: bytes = b"",
    ) -> Path:
        """A segment of a worker that is gone unless `pid` says otherwise; `end` is left unended."""
        self._started += 1
        stem = "churn" if kind == "predictions" else f"{kind}-churn"
        path = self.log_dir / f"{stem}-v{version}-{self._started}-{pid or self.dead}.ndjson"
        header = {"schema": 1, "kind": kind, "model": "churn", "model_version": version}
        header["columns"] = list(columns)
        body = [line if isinstance(line, bytes) else orjson.dumps(line) for line in lines]
        path.write_bytes(b"".join(each + b"\n" for each in (orjson.dumps(header), *body)) + end)
        return path

    def files(self) -> dict[str, bytes]:
        """What the store holds."""
        return {key: self.store.read_bytes(key) for key in self.store.keys(".")}


@pytest.fixture(scope="session")
def dead_pid() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def logs(tmp_path: Path, dead_pid: int) -> Logs:
    return Logs(tmp_path, dead_pid)


@pytest.fixture(scope="session")
def new_logs(dead_pid: int) -> Callable[[], Any]:
    """For each example of a property: `with new_logs() as logs`."""

    @contextmanager
    def fresh() -> Iterator[Logs]:
        with tempfile.TemporaryDirectory() as folder:
            yield Logs(Path(folder), dead_pid)

    return fresh


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., ModelSpec]:
    def make(task: str = "binary_classification", **fields: Any) -> ModelSpec:
        data = {"source": {"csv": "churn.csv"}, "target": "churned", **fields.pop("data", {})}
        estimator = {"python": "sklearn.linear_model:LogisticRegression"}
        return ModelSpec.model_validate(
            {"name": "churn", "task": task, "data": data, "estimator": estimator, **fields}
        )

    return make
