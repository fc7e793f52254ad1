"""What was seen of windows, as figures beside their goals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.common import Goal, Row, at_least, at_most, number
from benchmarks.detection.faults import FAULTS
from benchmarks.detection.ours import Judged
from benchmarks.detection.windows import NONE

NOMINAL = (365, 100)
DETECTED = 98.0
MATCHED = ("nannyml", 100)
"""The peer that changed windows are compared with, and their rows."""


@dataclass
class Seen:
    """By population, rows and fault: what ours said; by peer too: its alerts, ours beside them."""

    ours: dict[tuple[str, int, str], list[Judged]] = field(
        default_factory=lambda: defaultdict(list)
    )
    peers: dict[tuple[str, str, int, str], list[bool]] = field(
        default_factory=lambda: defaultdict(list)
    )
    beside: dict[tuple[str, str, int, str], list[Judged]] = field(
        default_factory=lambda: defaultdict(list)
    )
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> list[int]:
        """Rows of the windows."""
        return sorted({n for _, n, _ in self.ours})

    @property
    def names(self) -> list[str]:
        """The populations."""
        return list(dict.fromkeys(name for name, _, _ in self.ours))

    def asked(self, n: int, fault: str) -> list[str]:
        """The peers that have seen windows of n rows with this fault."""
        return list(dict.fromkeys(key[0] for key in self.peers if key[2:] == (n, fault)))


def alarm_rows(seen: Seen) -> list[Row]:
    """False alarms, as multiples of what is promised."""
    rows = []
    for once in NOMINAL:
        chances = {
            (name, n): [one.chance for one in seen.ours[name, n, NONE]]
            for name in seen.names
            for n in seen.sizes
        }
        above = [
            one.above_floor for key, found in seen.ours.items() if key[2] == NONE for one in found
        ]
        rates = {key: _share(value <= 1 / once for value in each) for key, each in chances.items()}
        pooled = _share(value <= 1 / once for each in chances.values() for value in each)
        worst = max(rates, key=lambda key: rates[key])
        windows = sum(map(len, chances.values()))
        said = f"{windows:,} windows in {len(rates)} cells of population and rows"
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
            Row(
                f"{name}: largest cell",
                rates[worst] * once,
                "× nominal",
                at_most(2.5),
                note=f"{worst[0]}, {worst[1]} rows, {len(chances[worst]):,} windows",
            ),
            Row(
                f"false alarms at 1/{once}, with the floor: pooled",
                _share(value <= 1 / once for value in above) * once,
                "× nominal",
                at_most(1),
            ),
        ]
    return rows


def _alerts(seen: Seen) -> dict[str, float | str]:
    """The peers' share of windows without drift that raise an alert, in their cells."""
    found: dict[str, float | str] = dict(seen.failed)
    for peer in dict.fromkeys(key[0] for key in seen.peers):
        cells = [
            100 * _share(raised) for key, raised in seen.peers.items() if key[0::3] == (peer, NONE)
        ]
        found[f"{peer}, least of its cells"] = min(cells)
        found[f"{peer}, most of its cells"] = max(cells)
    return found


def detection_rows(seen: Seen) -> list[Row]:
    """The share of changed windows that are found at 1/365, pooled over the populations."""
    rows = []
    for n in seen.sizes:
        for fault in FAULTS:
            cells = {
                name: seen.ours[name, n, fault.name]
                for name in seen.names
                if seen.ours[name, n, fault.name]
            }
            every = [one for cell in cells.values() for one in cell]
            each = ", ".join(
                f"{name} {number(100 * _share(one.chance <= 1 / 365 for one in cell))}"
                for name, cell in cells.items()
            )
            with_floor = 100 * _share(one.above_floor <= 1 / 365 for one in every)
            rows.append(
                Row(
                    f"{fault.name}, {n} rows: found at 1/365",
                    100 * _share(one.chance <= 1 / 365 for one in every),
                    "%",
                    at_least(DETECTED) if n >= 500 else None,
                    {
                        peer: 100
                        * _share(
                            raised
                            for name in seen.names
                            for raised in seen.peers.get((peer, name, n, fault.name), [])
                        )
                        for peer in seen.asked(n, fault.name)
                    },
                    "% at its defaults",
                    note=f"{len(every)} windows; {each}; with the floor: {number(with_floor)}",
                )
            )
    return rows


def matched_rows(seen: Seen) -> list[Row]:
    """Both at the peer's own rate of false alarms in each population, on the same windows."""
    peer, n = MATCHED
    rows = []
    limits = {name: _matched(seen, peer, name, n) for name in seen.names}
    for fault in FAULTS:
        ours, theirs = [], []
        for name in seen.names:
            key = (peer, name, n, fault.name)
            ours += [one.chance <= limits[name] for one in seen.beside[key]]
            theirs += seen.peers[key]
        goal: Goal = at_least(100 * _share(theirs))
        rows.append(
            Row(
                f"{fault.name}, {n} rows: found at {peer}'s rate of false alarms",
                100 * _share(ours),
                "%",
                goal,
                {peer: seen.failed.get(peer, 100 * _share(theirs))},
                "%",
                f"{len(ours)} windows",
                complete=bool(theirs),
            )
        )
    return rows


def _matched(seen: Seen, peer: str, name: str, n: int) -> float:
    """The chance at which as many of our windows without drift alarm as of the peer's."""
    raised = seen.peers[peer, name, n, NONE]
    rate = _share(raised)
    chances = sorted(one.chance for one in seen.ours[name, n, NONE])
    allowed = int(rate * len(chances))
    return chances[allowed - 1] if allowed else chances[0] * 0.999


def _share(found: Iterable[bool] | Sequence[bool]) -> float:
    listed = list(found)
    return sum(map(bool, listed)) / len(listed) if listed else 0.0
