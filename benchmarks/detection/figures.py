"""What was seen of windows, as figures beside their goals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.common import Row, at_least, at_most, number
from benchmarks.detection.cells import MATCHED, PEERS, Cell
from benchmarks.detection.faults import FAULTS
from benchmarks.detection.windows import NONE

NOMINAL = (365, 100)
DETECTED = 98.0
JUDGED = 500
"""Rows from which on nearly every change must be found."""


@dataclass(frozen=True)
class Seen:
    """All cells of population and rows."""

    cells: list[Cell]

    @property
    def sizes(self) -> list[int]:
        """Rows of the windows."""
        return sorted({cell.n for cell in self.cells})

    def of(self, n: int, fault: str) -> list[Cell]:
        """The cells of n rows in which windows have this fault."""
        return [cell for cell in self.cells if cell.n == n and cell.ours.get(fault)]

    def failed(self, peer: str) -> str | None:
        """Why a peer could not be asked, where it could not."""
        return next((cell.failed[peer] for cell in self.cells if peer in cell.failed), None)


def alarm_rows(seen: Seen) -> list[Row]:
    """False alarms, as multiples of what is promised."""
    rows = []
    for once in NOMINAL:
        rates = {
            f"{cell.population}, {cell.n} rows": _rate(cell, once) * once for cell in seen.cells
        }
        every = [one for cell in seen.cells for one in cell.ours[NONE]]
        pooled = _share(one.chance <= 1 / once for one in every)
        worst = max(rates, key=lambda key: rates[key])
        said = f"{len(every):,} windows in {len(rates)} cells of population and rows"
        each = "; ".join(f"{key} {number(rate)}" for key, rate in rates.items())
        name = f"false alarms at 1/{once}, without the floor"
        rows += [
            Row(f"{name}: pooled, at least", pooled * once, "× nominal", at_least(0.5), note=said),
            Row(
                f"{name}: pooled, at most",
                pooled * once,
                "× nominal",
                at_most(1.25),
                _alerts(seen) if once == NOMINAL[0] else {},
                "% of windows",
            ),
            Row(f"{name}: largest cell", rates[worst], "× nominal", at_most(2.5), note=each),
            Row(
                f"false alarms at 1/{once}, with the floor: pooled",
                _share(one.above_floor <= 1 / once for one in every) * once,
                "× nominal",
                at_most(1),
            ),
        ]
    return rows


def _rate(cell: Cell, once: int) -> float:
    return _share(one.chance <= 1 / once for one in cell.ours[NONE])


def _alerts(seen: Seen) -> dict[str, float | str]:
    """The peers' share of windows without drift that raise an alert, in their cells."""
    found: dict[str, float | str] = {}
    for peer in PEERS:
        cells = [each for cell in seen.cells if (each := cell.peers.get(peer, {}).get(NONE))]
        if cells:
            found[f"{peer}, least of its cells"] = 100 * min(map(_share, cells))
            found[f"{peer}, most of its cells"] = 100 * max(map(_share, cells))
            found[f"{peer}, windows asked"] = f"{sum(map(len, cells)):,} windows"
        elif why := seen.failed(peer):
            found[peer] = why
    return found


def detection_rows(seen: Seen) -> list[Row]:
    """The share of changed windows that are found at 1/365, in the population where it is least."""
    rows = []
    for n in seen.sizes:
        for fault in FAULTS:
            cells = seen.of(n, fault.name)
            if not cells:
                continue
            shares = {cell.population: _found(cell, fault.name) for cell in cells}
            every = [one for cell in cells for one in cell.ours[fault.name]]
            each = ", ".join(f"{name} {number(share)}" for name, share in shares.items())
            floor = ", ".join(
                number(100 * _share(one.above_floor <= 1 / 365 for one in cell.ours[fault.name]))
                for cell in cells
            )
            rows.append(
                Row(
                    f"{fault.name}, {n} rows: found at 1/365, least of the populations",
                    min(shares.values()),
                    "%",
                    at_least(DETECTED) if n >= JUDGED else None,
                    note=f"{len(every)} windows; {each}; with the floor: {floor}",
                )
            )
    return rows


def _found(cell: Cell, fault: str) -> float:
    return 100 * _share(one.chance <= 1 / 365 for one in cell.ours[fault])


def matched_rows(seen: Seen) -> list[Row]:
    """Both at the peer's own rate of false alarms, cell by cell, on the same windows."""
    peer, n = MATCHED
    rows = []
    for fault in FAULTS:
        for cell in seen.of(n, fault.name):
            theirs = cell.peers.get(peer, {}).get(fault.name, [])
            limit = _matched(cell, peer)
            ours = [one.chance <= limit for one in cell.beside.get(peer, {}).get(fault.name, [])]
            said = 100 * _share(theirs)
            rows.append(
                Row(
                    f"{fault.name}, {n} rows, {cell.population}: found at {peer}'s rate of false "
                    "alarms",
                    100 * _share(ours),
                    "%",
                    at_least(said),
                    {peer: cell.failed.get(peer, said)},
                    "%",
                    f"{len(ours)} windows; {peer} alarms on "
                    f"{100 * _share(cell.peers.get(peer, {}).get(NONE, [])):.1f} % without drift",
                    complete=bool(theirs),
                )
            )
    return rows


def _matched(cell: Cell, peer: str) -> float:
    """The chance at which as many of our windows without drift alarm as of the peer's."""
    rate = _share(cell.peers.get(peer, {}).get(NONE, []))
    chances = sorted(one.chance for one in cell.ours[NONE])
    allowed = int(rate * len(chances))
    return chances[allowed - 1] if allowed else chances[0] * 0.999


def _share(found: Iterable[bool]) -> float:
    listed = list(found)
    return sum(map(bool, listed)) / len(listed) if listed else 0.0
