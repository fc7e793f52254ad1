"""What every benchmark shares: facts of the machine, figures with goals, the table, the result."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / ".mlops" / "bench"
"""Environments of the peers and scratch files: on the disk of the project, ignored by git."""


@dataclass(frozen=True)
class Goal:
    """A bound that a figure must keep: at least, or at most."""

    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.sign} {number(self.bound)}"

    def holds(self, value: float | None) -> bool:
        """Whether the figure keeps it; one that could not be measured does not."""
        if value is None or math.isnan(value):
            return False
        return value >= self.bound if self.sign == "≥" else value <= self.bound


def at_least(bound: float) -> Goal:
    return Goal("≥", bound)


def at_most(bound: float) -> Goal:
    return Goal("≤", bound)


@dataclass(frozen=True)
class Row:
    """One figure. `peers` are what it was measured beside: a number, or why there is none.

    Where one of them is missing that the goal speaks of, it is not `complete` and cannot hold.
    """

    name: str
    value: float | None
    unit: str
    goal: Goal | None = None
    peers: Mapping[str, float | str] = field(default_factory=dict)
    peers_unit: str = ""
    note: str = ""
    complete: bool = True

    @property
    def holds(self) -> bool | None:
        """None where there is no goal."""
        return None if self.goal is None else self.complete and self.goal.holds(self.value)


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of all samples does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(value: float | None, base: float | None) -> float | None:
    """How many times `base` the value is; None where one of them is missing."""
    return None if value is None or not base else value / base


def number(value: float | str | None) -> str:
    """A figure with about three digits; a text as it is."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """Each figure beside its goal, and below it those of the peers."""
    values = [f"{number(row.value)} {row.unit}".strip() for row in rows]
    goals = ["" if row.goal is None else f"{row.goal} {row.unit}".strip() for row in rows]
    names = max(len(row.name) for row in rows)
    wide = [max(map(len, cells)) for cells in (values, goals)]
    said = {True: "holds", False: "MISSED", None: ""}
    lines = []
    for row, value, goal in zip(rows, values, goals, strict=True):
        cells = f"{row.name:<{names}}  {value:>{wide[0]}}  {goal:<{wide[1]}}  {said[row.holds]}"
        lines.append(cells.rstrip())
        for peer, measured in row.peers.items():
            unit = row.peers_unit if not isinstance(measured, str) else ""
            lines.append(f"    {peer}: {number(measured)} {unit}".rstrip())
        if row.note:
            lines.append(f"    ({row.note})")
    return "\n".join(lines)


def result(rows: Sequence[Row], machine: Mapping[str, Any], about: Mapping[str, Any]) -> Any:
    """The JSON document of one run; `about` says how it was made."""
    return {
        "machine": dict(machine),
        **about,
        "rows": [
            {
                "name": row.name,
                "value": row.value,
                "unit": row.unit,
                "goal": None if row.goal is None else str(row.goal),
                "peers": dict(row.peers),
                "peers_unit": row.peers_unit,
                "note": row.note,
                "holds": row.holds,
            }
            for row in rows
        ],
    }


def write_result(name: str, document: Any) -> Path:
    """Write `benchmarks/results/NAME.json`, whole or not at all."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    scratch.replace(path)
    return path


def machine(folder: Path) -> dict[str, Any]:
    """What the figures depend on; `folder` lies on the disk that the logs are written to."""
    import psutil

    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "fdatasync_ms": round(1000 * _sync_seconds(folder), 3),
        "fdatasync_over_zeros_ms": round(1000 * _sync_seconds(folder, room=1 << 20), 3),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "altered": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _sync_seconds(folder: Path, times: int = 50, room: int = 0) -> float:
    """The median time until a row that was written there is on the disk.

    It is appended, or takes the place of zeros that were laid out and synced before.
    """
    sync = getattr(os, "fdatasync", os.fsync)
    path = folder / f"sync-{os.getpid()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    taken = []
    try:
        os.write(fd, bytes(room))
        os.fsync(fd)
        for number in range(times):
            os.pwrite(fd, b"1" * 800, 800 * number)
            began = time.perf_counter()
            sync(fd)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(fd)
        path.unlink()
    return percentile(taken, 0.5)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
