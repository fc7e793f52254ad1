"""Begins the story anew: clears what an earlier demo left, and nothing that anyone else made."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from mlops_pipelines.errors import MlopsError
from mlops_pipelines.store import write_atomically
from mlops_pipelines.workbench import Workbench

MARKER = "demo.json"
STATE = ("dagster", "artifacts", "store", "serving", "cache", "mlflow.db")


def begin_anew(bench: Workbench, model: str) -> None:
    """Clear the home folder if a demo made all of it; raises MlopsError where someone else did.

    A demo that was killed left its marker first, so all it left is known as its own.
    """
    home = bench.project.home
    marker = home / MARKER
    used = (home / "mlflow.db").exists()
    if used:
        _refuse_strangers(bench, model, told=marker.exists())
    _refuse_open_ui(bench)
    if (home / "serving").exists():
        bench.target.stop(model)
    for name in STATE:
        path = home / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    write_atomically(marker, json.dumps({"model": model, "pid": os.getpid()}).encode())


def _refuse_strangers(bench: Workbench, model: str, *, told: bool) -> None:
    others = [
        name for name in _registered(bench.project.home / "mlflow.db") if name != model or not told
    ]
    if others:
        raise MlopsError(
            f"{bench.project.home} holds versions of {', '.join(others)} that no demo made; "
            "the demo would clear them. Give it a home of its own: "
            "MLOPS_HOME=.mlops-demo mlops demo"
        )


def _registered(database: Path) -> list[str]:
    """The models in MLflow's SQLite; read past MLflow, which would keep the old file open."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as books:
            return [name for (name,) in books.execute("SELECT name FROM registered_models")]
    except sqlite3.Error:
        # Killed before MLflow had made its tables: there is nothing in it.
        return []


def _refuse_open_ui(bench: Workbench) -> None:
    pid_file = bench.project.home / "ui.pid"
    if pid_file.exists() and _alive(int(pid_file.read_text() or 0)):
        raise MlopsError(
            f"the UI is open on {bench.project.home} (process {pid_file.read_text()}); "
            "close it with Ctrl-C first"
        )


def _alive(pid: int) -> bool:
    import psutil

    try:
        return any("mlops" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
