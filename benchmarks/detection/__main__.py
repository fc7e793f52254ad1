"""`make bench-detection`: false alarms without drift, and changes of one column that are found.

Each population at each size is a cell, looked at in a process of its own and kept when it is done:
a run that was stopped goes on where it was, as long as neither sizes nor code changed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import WORK, Row, machine, result, say, table, write_result
from benchmarks.detection.alerts import PEERS as REQUIREMENTS
from benchmarks.detection.cells import PEERS, Asked, Cell, Sizes, kept_in, look, read
from benchmarks.detection.figures import Seen, alarm_rows, detection_rows, matched_rows
from benchmarks.detection.populations import names as population_names
from benchmarks.detection.windows import NONE
from benchmarks.environments import PeerError, environment

SIZES = (100, 500, 2000)

FULL = Sizes(
    references=40,
    unchanged=50,
    changed=10,
    sparse=4,
    compared=Asked(references=10, unchanged=30, changed=10),
    nannyml=Asked(references=2, unchanged=10),
    # It takes seconds a window, and no goal speaks of it.
    evidently=Asked(references=1, unchanged=5),
)
QUICK = Sizes(
    references=10,
    unchanged=20,
    changed=4,
    sparse=5,
    compared=Asked(references=2, unchanged=20, changed=4),
    nannyml=Asked(references=1, unchanged=4),
    evidently=Asked(references=1, unchanged=2),
)


def main() -> int:
    """0 where every goal holds, 1 where one is missed."""
    parser = argparse.ArgumentParser("make bench-detection", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few windows: to see that all works, not to quote"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="cells at once (one per core)"
    )
    parser.add_argument(
        "--cell",
        nargs=2,
        metavar=("POPULATION", "ROWS"),
        help="look at this one only and keep it, for a run in parts",
    )
    parser.add_argument(
        "--kept", action="store_true", help="look at nothing more: the table of the cells so far"
    )
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    WORK.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    names = population_names()
    if given.cell:
        _look([given.cell[0]], sizes, 1, [int(given.cell[1])])
        return 0
    seen = Seen(_kept(names, sizes) if given.kept else _look(names, sizes, given.workers))
    if not seen.cells:
        say("no cell is kept of these sizes and this code; run it without --kept")
        return 1
    rows: list[Row] = [*alarm_rows(seen), *detection_rows(seen), *matched_rows(seen)]
    with tempfile.TemporaryDirectory(dir=WORK) as scratch:
        facts = machine(Path(scratch))
    minutes = round((time.monotonic() - began) / 60, 1)
    about = {
        "quick": given.quick,
        "sizes": asdict(sizes),
        "populations": names,
        "minutes": minutes,
        "seconds": {f"{cell.population}, {cell.n}": dict(cell.seconds) for cell in seen.cells},
    }
    path = write_result("detection", result(rows, facts, about))
    say("\n" + table(rows))
    say("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    if given.quick:
        say("--quick: too few windows to say how often anything happens.")
    if len(names) < 6:
        say("MLOPS_REAL_DATA is not set: without bank_marketing and bike_sharing.")
    if len(seen.cells) < len(names) * len(SIZES):
        say(f"{len(seen.cells)} of {len(names) * len(SIZES)} cells: not to quote as the whole.")
    missed = [row for row in rows if row.holds is False]
    say(f"{len(missed)} goals missed after {minutes} minutes; see {path}")
    return 1 if missed else 0


def _kept(names: list[str], sizes: Sizes) -> list[Cell]:
    folder = kept_in(sizes)
    found = [read(name, n, folder) for n in SIZES for name in names]
    return [cell for cell in found if cell is not None]


def _look(names: list[str], sizes: Sizes, workers: int, rows: Sequence[int] = SIZES) -> list[Cell]:
    for peer in PEERS:
        try:
            environment(REQUIREMENTS / f"{peer}.txt")
        except PeerError as error:
            say(f"{peer}: {error}")
    # The cells use the cores, not the algebra inside each of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Asked for once: what is changed while this runs is not what it looks at.
    folder = kept_in(sizes)
    cells: dict[tuple[str, int], Cell] = {}
    wanted = [(name, n) for n in rows for name in names]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=spawn) as pool:
        asked = {pool.submit(look, name, n, sizes, folder): (name, n) for name, n in wanted}
        for done in as_completed(asked):
            kept = done.result()
            cell = read(*asked[done], folder)
            assert cell is not None
            cells[asked[done]] = cell
            alarms = sum(one.chance <= 1 / 365 for one in cell.ours[NONE])
            taken = ", ".join(f"{who} {spent:.0f} s" for who, spent in cell.seconds.items())
            say(
                f"{len(cells)} of {len(wanted)}: {cell.population}, {cell.n} rows: {alarms} of "
                f"{len(cell.ours[NONE]):,} windows without drift alarm at 1/365 "
                f"({'kept from before' if kept else taken})"
            )
    return [cells[each] for each in wanted]


if __name__ == "__main__":
    sys.exit(main())
