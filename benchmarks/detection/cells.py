"""One population at one size: what ours and the peers say of its windows, kept once it is done."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, WORK
from benchmarks.detection.alerts import Peer
from benchmarks.detection.ours import Judged, judged, open_reference
from benchmarks.detection.populations import population
from benchmarks.detection.windows import NONE, batch
from benchmarks.environments import PeerError

PEERS = ("nannyml", "evidently")
MATCHED = ("nannyml", 100)
"""The peer that changed windows are compared with, and their rows."""
ALARMS_AT = 500

_started: dict[str, Peer] = {}


@dataclass(frozen=True)
class Asked:
    """What a peer sees: its first `unchanged` windows without drift of so many references.

    `changed` windows of each fault too, where they are compared. References are those on which
    faults are looked at, from the first.
    """

    references: int
    unchanged: int
    changed: int = 0


@dataclass(frozen=True)
class Sizes:
    """References of each population, and windows of each: unchanged ones, ones with each fault.

    Faults are looked at on every `sparse`-th reference. The peer that is `compared` at the fewest
    rows is asked as much as we are there. Otherwise the peers are asked at 500 rows only, and only
    how often they alarm: they take seconds a window.
    """

    references: int
    unchanged: int
    changed: int
    sparse: int
    compared: Asked
    nannyml: Asked
    evidently: Asked

    def asked(self, peer: str, n: int) -> Asked:
        """What this peer sees of windows of n rows."""
        if (peer, n) == MATCHED:
            return self.compared
        if n != ALARMS_AT:
            return Asked(0, 0)
        return self.nannyml if peer == "nannyml" else self.evidently


@dataclass
class Cell:
    """By fault: what ours said; by peer too: its alerts, and ours on the same windows."""

    population: str
    n: int
    ours: dict[str, list[Judged]] = field(default_factory=lambda: defaultdict(list))
    peers: dict[str, dict[str, list[bool]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    beside: dict[str, dict[str, list[Judged]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def kept_in(sizes: Sizes) -> Path:
    """Where the cells are kept; another folder when sizes or the code of the verdict change."""
    found = hashlib.sha256(json.dumps(asdict(sizes)).encode())
    for folder in ("mlops_pipelines/measure", "benchmarks/detection"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name not in ("__main__.py", "figures.py"):
                found.update(path.read_bytes())
    return WORK / "detection" / found.hexdigest()[:12]


def look(name: str, n: int, sizes: Sizes, folder: Path) -> bool:
    """Look at the cell and keep it, for `read`; whether it was kept already."""
    path = _path(name, n, folder)
    if path.exists():
        return True
    cell = _look(name, n, sizes)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(_written(cell)), "utf-8")
    scratch.replace(path)
    return False


def read(name: str, n: int, folder: Path) -> Cell | None:
    """The cell as it is kept; None where it is not."""
    path = _path(name, n, folder)
    return _read(json.loads(path.read_text("utf-8"))) if path.exists() else None


def _path(name: str, n: int, folder: Path) -> Path:
    return folder / f"{name}-{n}.json"


def _look(name: str, n: int, sizes: Sizes) -> Cell:
    drawn_from = population(name)
    cell = Cell(name, n)
    for number in range(sizes.references):
        faulty, which = number % sizes.sparse == 0, number // sizes.sparse
        made = batch(drawn_from, n, number, sizes.unchanged, sizes.changed if faulty else 0)
        began = time.monotonic()
        # One reference for all its windows: its null is drawn once.
        reference = open_reference(made.reference, drawn_from.columns)
        found = {fault: judged(reference, windows) for fault, windows in made.windows.items()}
        for fault, said in found.items():
            cell.ours[fault] += said
        cell.seconds["ours"] += time.monotonic() - began
        for peer in PEERS:
            asked = sizes.asked(peer, n)
            if not faulty or which >= asked.references or peer in cell.failed:
                continue
            began = time.monotonic()
            most = dict.fromkeys(made.windows, asked.changed) | {NONE: asked.unchanged}
            try:
                alerts = _peer(peer).alerts(made, most)
            except PeerError as error:
                cell.failed[peer] = str(error)
                continue
            for fault, raised in alerts.items():
                cell.peers[peer][fault] += raised
                cell.beside[peer][fault] += found[fault][: len(raised)]
            cell.seconds[peer] += time.monotonic() - began
    return cell


def _peer(name: str) -> Peer:
    """One process of each peer for each of ours; it ends with ours, when its input does."""
    if name not in _started:
        _started[name] = Peer(name)
    return _started[name]


def _written(cell: Cell) -> dict[str, Any]:
    return {
        **vars(cell),
        "ours": {fault: [astuple(one) for one in said] for fault, said in cell.ours.items()},
        "beside": {
            peer: {fault: [astuple(one) for one in said] for fault, said in each.items()}
            for peer, each in cell.beside.items()
        },
    }


def _read(found: dict[str, Any]) -> Cell:
    ours = {fault: [Judged(*one) for one in said] for fault, said in found.pop("ours").items()}
    beside = {
        peer: {fault: [Judged(*one) for one in said] for fault, said in each.items()}
        for peer, each in found.pop("beside").items()
    }
    return Cell(ours=ours, beside=beside, **found)
