"""`make bench-lineage`: how long the questions about versions take, in processes of their own.

1,000 versions of one model and 10,000 nights, in SQLite: spread over the versions, and all of them
of one version. The peer answers the same question through MLflow's own client.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import ROOT, WORK, Row, at_most, machine, percentile, result, say, table
from benchmarks.common import write_result as write
from benchmarks.lineage_books import fill_dagster, fill_mlflow, fill_store

MODEL = "breast_cancer"
VERSIONS, NIGHTS, ROUNDS = 1000, 10_000, 7
SECONDS = 1.0
BUNDLE = "b000000001f4"
"""The first digits of version 500's."""

OWN = "from mlops_pipelines.cli import main; main()"
PEER = f"""
import sys
from mlops_pipelines.explain.books_server import ServerBooks
from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.project import Project
found = Sources.of(Project.find())
books = ServerBooks(Project.find().tracking_uri)
lineage(Sources(books, found.events, found.store), {MODEL!r}, int(sys.argv[1]), "accuracy")
"""


def main() -> int:
    """0 where every goal holds, 1 where one is missed."""
    WORK.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="lineage-", dir=WORK))
    try:
        rows = _rows(scratch)
        facts = machine(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    about = {"versions": VERSIONS, "nights": NIGHTS, "rounds": ROUNDS}
    path = write("lineage", result(rows, facts, about))
    say("\n" + table(rows))
    say("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    missed = [row for row in rows if row.holds is False]
    say(f"{len(missed)} goals missed; see {path}")
    return 1 if missed else 0


def _rows(scratch: Path) -> list[Row]:
    say(f"writing {VERSIONS:,} versions and {NIGHTS:,} nights …")
    spread, one = scratch / "spread", scratch / "one"
    spread.mkdir()
    fill_mlflow(spread, MODEL, VERSIONS, NIGHTS)
    fill_dagster(spread, MODEL, VERSIONS)
    fill_store(spread, MODEL, VERSIONS)
    shutil.copytree(spread, one)
    _all_of_one_version(one)
    last = str(VERSIONS)
    return [
        _row("mlops lineage, nights spread", spread, ("lineage", MODEL, last), PEER),
        _row("mlops lineage, all nights of one version", one, ("lineage", MODEL, last), PEER),
        _row("mlops lineage --page", spread, ("lineage", MODEL, "--page", str(scratch / "page"))),
        _row("mlops history", spread, ("history", MODEL)),
        _row("mlops find, a bundle", spread, ("find", BUNDLE)),
        _row("mlops find, nothing", spread, ("find", "nothing-is-called-so")),
    ]


def _row(name: str, home: Path, arguments: tuple[str, ...], peer: str = "") -> Row:
    failing = arguments[-1].startswith("nothing")
    seconds = [_seconds(home, OWN, arguments, 1 if failing else 0) for _ in range(ROUNDS)]
    say(f"{name}: {percentile(seconds, 0.5):.2f} s")
    peers = {}
    if peer:
        peers["through MLflow's client"] = _seconds(home, peer, arguments[2:], 0)
    goal = at_most(SECONDS) if name.startswith("mlops lineage") else None
    worst = f"of {ROUNDS}: {min(seconds):.2f} to {max(seconds):.2f} s"
    return Row(name, percentile(seconds, 0.5), "s", goal, peers, "s", worst)


def _seconds(home: Path, code: str, arguments: tuple[str, ...], expected: int) -> float:
    """From the start of a new process to its end."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "MLOPS_PROJECT": str(ROOT), "MLOPS_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    taken = time.perf_counter() - began
    if done.returncode != expected:
        raise SystemExit(f"bench-lineage: {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return taken


def _all_of_one_version(home: Path) -> None:
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute(
            "UPDATE tags SET value = ? WHERE key = 'mlops.version' AND run_uuid IN "
            "(SELECT run_uuid FROM tags WHERE key = 'mlops.kind' AND value = 'evaluation')",
            (str(VERSIONS),),
        )
    connection.close()


if __name__ == "__main__":
    sys.exit(main())
