"""`make bench-detection`: false alarms without drift, and changes of one column that are found."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.common import WORK, Row, machine, result, say, table, write_result
from benchmarks.detection.alerts import Peer
from benchmarks.detection.figures import MATCHED, Seen, alarm_rows, detection_rows, matched_rows
from benchmarks.detection.ours import judged, open_reference
from benchmarks.detection.populations import Population, populations
from benchmarks.detection.windows import NONE, batch
from benchmarks.environments import PeerError

SIZES = (100, 500, 2000)


@dataclass(frozen=True)
class Sizes:
    """References of each population, and windows of each: unchanged ones, ones with each fault.

    Faults are looked at on every `sparse`-th reference; the peers see the first `shared` windows
    of the first references, `asked` of them.
    """

    references: int
    unchanged: int
    changed: int
    sparse: int
    asked: int
    shared: int


FULL = Sizes(references=40, unchanged=50, changed=10, sparse=4, asked=3, shared=10)
QUICK = Sizes(references=10, unchanged=20, changed=4, sparse=5, asked=1, shared=4)


def main() -> int:
    """0 where every goal holds, 1 where one is missed."""
    parser = argparse.ArgumentParser("make bench-detection", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few windows: to see that all works, not to quote"
    )
    quick = parser.parse_args().quick
    sizes = QUICK if quick else FULL
    WORK.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    seen = _look(sizes)
    rows: list[Row] = [*alarm_rows(seen), *detection_rows(seen), *matched_rows(seen)]
    with tempfile.TemporaryDirectory(dir=WORK) as scratch:
        facts = machine(Path(scratch))
    minutes = round((time.monotonic() - began) / 60, 1)
    names = [each.name for each in populations()]
    about = {"quick": quick, "sizes": asdict(sizes), "populations": names, "minutes": minutes}
    path = write_result("detection", result(rows, facts, about))
    say("\n" + table(rows))
    say("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    if quick:
        say("--quick: too few windows to say how often anything happens.")
    if len(names) < 6:
        say("MLOPS_REAL_DATA is not set: without bank_marketing and bike_sharing.")
    missed = [row for row in rows if row.holds is False]
    say(f"{len(missed)} goals missed after {minutes} minutes; see {path}")
    return 1 if missed else 0


def _look(sizes: Sizes) -> Seen:
    seen = Seen()
    peers: list[Peer] = []
    for name in ("nannyml", "evidently"):
        try:
            peers.append(Peer(name))
        except PeerError as error:
            seen.failed[name] = str(error)
    try:
        for population in populations():
            for n in SIZES:
                began = time.monotonic()
                _cell(population, n, sizes, peers, seen)
                alarms = sum(one.chance <= 1 / 365 for one in seen.ours[population.name, n, NONE])
                windows = len(seen.ours[population.name, n, NONE])
                say(
                    f"{population.name}, {n} rows: {alarms} of {windows:,} windows without drift "
                    f"alarm at 1/365; {time.monotonic() - began:.0f} s"
                )
    finally:
        for peer in peers:
            peer.close()
    return seen


def _cell(population: Population, n: int, sizes: Sizes, peers: list[Peer], seen: Seen) -> None:
    columns = population.columns
    for number in range(sizes.references):
        changed = sizes.changed if number % sizes.sparse == 0 else 0
        made = batch(population, n, number, sizes.unchanged, changed)
        reference = open_reference(made.reference, columns)
        for fault, windows in made.windows.items():
            seen.ours[population.name, n, fault] += judged(reference, windows)
        asked = number % sizes.sparse == 0 and number < sizes.sparse * sizes.asked
        for peer in peers if asked else ():
            # Changed windows are compared at the fewest rows; Evidently takes seconds a window.
            compared = peer.name == MATCHED[0] and n == MATCHED[1]
            faults = list(made.windows) if compared else [NONE]
            try:
                alerts = peer.alerts(made, faults, sizes.shared)
            except PeerError as error:
                seen.failed[peer.name] = str(error)
                continue
            for fault, raised in alerts.items():
                seen.peers[peer.name, population.name, n, fault] += raised
                shared = seen.ours[population.name, n, fault]
                first = len(shared) - len(made.windows[fault])
                seen.beside[peer.name, population.name, n, fault] += shared[
                    first : first + len(raised)
                ]


if __name__ == "__main__":
    sys.exit(main())
