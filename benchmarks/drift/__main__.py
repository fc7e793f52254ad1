"""`make bench-drift`: how long a night's verdict takes, and how much memory, beside its peers.

The same windows for all: Parquet files of 20 numeric and 5 categorical columns. Ours counts the
window in a stored reference's bins and judges it; every measurement is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import (
    ROOT,
    WORK,
    Row,
    at_least,
    at_most,
    machine,
    percentile,
    ratio,
    result,
    say,
    table,
)
from benchmarks.common import write_result as write_json
from benchmarks.drift.data import write
from benchmarks.environments import PeerError, environment

HERE = Path(__file__).parent
PEERS = {
    "Evidently": ("evidently_drift.py", HERE.parent / "detection" / "peers" / "evidently.txt", 60),
    "NannyML": ("nannyml_drift.py", HERE.parent / "detection" / "peers" / "nannyml.txt", 10),
    "whylogs": ("whylogs_drift.py", HERE / "peers" / "whylogs.txt", 30),
}
"""Script, requirements, and how many times faster ours is to be."""

PARTS = ("window", "rows", "columns", "nights")
SECONDS = 1800


def main() -> int:
    """0 where every goal holds, 1 where one is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.drift")
    parser.add_argument("--quick", action="store_true", help="100,000 rows instead of a million")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="only these parts")
    asked = parser.parse_args()
    quick = asked.quick
    WORK.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="drift-", dir=WORK))
    try:
        rows = _rows(scratch, 100_000 if quick else 1_000_000, 1 if quick else 3, asked.only)
        facts = machine(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    path = write_json("drift", result(rows, facts, {"quick": quick, "only": asked.only}))
    say("\n" + table(rows))
    missed = [row for row in rows if row.holds is False]
    say(f"{len(missed)} goals missed; see {path}")
    return 1 if missed else 0


def _rows(scratch: Path, n: int, rounds: int, parts: Sequence[str]) -> list[Row]:
    rows = []
    if "window" in parts or "rows" in parts:
        say(f"writing windows of {n:,} rows …")
        reference = write(scratch / "reference.parquet", n, 25, 0)
        learned = _learn(scratch, reference)
        if "window" in parts:
            rows += _window(scratch, reference, learned, n, rounds)
        if "rows" in parts:
            rows += _many(scratch, learned, 10 * n)
    if "columns" in parts:
        rows.append(_growth(scratch, n // 10, rounds))
    if "nights" in parts:
        rows += _nights(scratch)
    return rows


def _window(scratch: Path, reference: Path, learned: Path, n: int, rounds: int) -> list[Row]:
    window = write(scratch / "window.parquet", n, 25, 1, 0.1)
    first, *ours = _ours(learned, window, rounds)
    seconds = percentile([each["seconds"] for each in ours], 0.5)
    rows = []
    for name, (script, requirements, times) in PEERS.items():
        say(f"{name} …")
        found = _peer(script, requirements, reference, window)
        theirs = found if isinstance(found, str) else found["seconds"]
        factor = None if isinstance(theirs, str) else ratio(theirs, seconds)
        rows.append(
            Row(
                f"{n:,} rows × 25 columns, times faster than {name}",
                factor,
                "×",
                at_least(times),
                {name: theirs, "ours": seconds},
                "s",
                complete=not isinstance(theirs, str),
            )
        )
    peak = max(each["peak_mb"] for each in (first, *ours))
    return [
        *rows,
        _counting(learned, window, n, rounds),
        Row(f"{n:,} rows × 25 columns, the first window of its size", first["seconds"], "s"),
        Row(f"peak memory, {n:,} rows", peak, "MB", at_most(800)),
    ]


def _counting(learned: Path, window: Path, n: int, rounds: int) -> Row:
    """Why files of the store are not counted by the engine that is asked elsewhere."""
    seconds: dict[str, list[float]] = {"DuckDB by Ibis": [], "ours": []}
    for _ in range(rounds):
        for name, engine in (("DuckDB by Ibis", "duckdb"), ("ours", "files")):
            command = [sys.executable, str(HERE / "ours.py"), "count", str(learned), str(window)]
            seconds[name].append(_run([*command, engine])["seconds"])
    middle = {name: percentile(each, 0.5) for name, each in seconds.items()}
    return Row(
        f"{n:,} rows × 25 columns, counting alone, times faster than DuckDB by Ibis",
        ratio(middle["DuckDB by Ibis"], middle["ours"]),
        "×",
        None,
        dict(middle),
        "s",
    )


def _many(scratch: Path, learned: Path, n: int) -> list[Row]:
    say(f"{n:,} rows …")
    found = _ours(learned, write(scratch / "many.parquet", n, 25, 2), 1)
    peak = max(each["peak_mb"] for each in found)
    return [
        Row(f"peak memory, {n:,} rows", peak, "MB", at_most(1200)),
        Row(f"{n:,} rows × 25 columns", found[-1]["seconds"], "s"),
    ]


def _growth(scratch: Path, n: int, rounds: int) -> Row:
    each = {}
    for columns in (50, 400):
        say(f"{columns} columns …")
        reference = write(scratch / f"reference{columns}.parquet", n, columns, 3)
        window = write(scratch / f"window{columns}.parquet", n, columns, 4)
        learned = _learn(scratch, reference, columns)
        found = [each["seconds"] for each in _ours(learned, window, rounds)[1:]]
        each[columns] = percentile(found, 0.5) / columns
    return Row(
        f"seconds per column, 400 over 50 columns, {n:,} rows",
        ratio(each[400], each[50]),
        "×",
        at_most(1.2),
        {f"{columns} columns": 1000 * seconds for columns, seconds in each.items()},
        "ms",
    )


def _nights(scratch: Path) -> list[Row]:
    say("two years of nights …")
    script, folder = str(HERE / "nights.py"), str(scratch / "nights")
    _run([sys.executable, script, "prepare", folder])
    first, second = (_run([sys.executable, script, "night", folder, each]) for each in "01")
    name = "one more night after two years of them"
    return [
        Row(name, second["seconds"], "s", at_most(2)),
        Row(f"{name}, the first of its size", first["seconds"], "s"),
    ]


def _learn(scratch: Path, reference: Path, columns: int = 25) -> Path:
    learned = scratch / f"reference{columns}.npz"
    _run([sys.executable, str(HERE / "ours.py"), "learn", str(reference), str(learned)])
    return learned


def _ours(learned: Path, window: Path, rounds: int) -> list[dict[str, Any]]:
    """The first window of its size, whose null is drawn, and then so many that find it drawn."""
    command = [sys.executable, str(HERE / "ours.py"), "judge", str(learned), str(window)]
    return [_run(command) for _ in range(1 + rounds)]


def _peer(script: str, requirements: Path, *files: Path) -> dict[str, Any] | str:
    try:
        python = environment(requirements)
        return _run([str(python), str(HERE / "peers" / script), *map(str, files)])
    except (PeerError, subprocess.SubprocessError, ValueError) as error:
        return f"did not run: {str(error).splitlines()[0][:200]}"


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=SECONDS)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["failed"])[-1])
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


if __name__ == "__main__":
    sys.exit(main())
