"""Every version of a model, a line each: gates, traffic, metrics and its worst night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlops_pipelines import record
from mlops_pipelines.explain.books import Entry, Night
from mlops_pipelines.explain.changes import holdout_metrics
from mlops_pipelines.explain.event_log import Deployed
from mlops_pipelines.explain.moves import moves
from mlops_pipelines.explain.nights import worst
from mlops_pipelines.explain.record_schema import Moved


@dataclass(frozen=True)
class Line:
    """A version in short; times are RFC 3339 in UTC.

    `by` asked for its first deployment, or is the Dagster run that trained it; `deployed` and
    `rolled_back` (the reason) are empty where it was not. `worst` and `worst_day` are of the main
    metric, None and empty where no night had labels.
    """

    version: int
    created: str
    by: str
    aliases: tuple[str, ...]
    gates: str
    deployed: str
    rolled_back: str
    moves: tuple[Moved, ...]
    metrics: dict[str, float]
    nights: int
    worst: float | None
    worst_day: str

    def as_dict(self) -> dict[str, Any]:
        """As a JSON value."""
        return {**asdict(self), "moves": [each.model_dump() for each in self.moves]}


def history(
    entries: Sequence[Entry], deployed: Sequence[Deployed], nights: Sequence[Night], main: str
) -> list[Line]:
    """A line per version, in the order of `entries`; `nights` are those of all versions."""
    by_version: dict[int, list[Night]] = {}
    for night in nights:
        by_version.setdefault(night.version, []).append(night)
    moved = moves(deployed)
    return [
        _line(each, tuple(moved.get(each.version, ())), by_version.get(each.version, ()), main)
        for each in entries
    ]


def history_text(lines: Sequence[Line], main: str) -> str:
    """A table with a line per version; below a line, each time that its traffic moved."""
    head = ("version", "registered", main, "gates", "deployed", "by", "nights", f"worst {main}")
    rows = [head, *(_cells(each, main) for each in lines)]
    wide = [max(len(row[place]) for row in rows) for place in range(len(head))]
    told = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, wide, strict=True)).rstrip()
        for row in rows
    ]
    for place, each in reversed(list(enumerate(lines, 1))):
        if each.rolled_back:
            what = "rolled back" if each.deployed else "quarantined"
            told.insert(place + 1, f"    {what}: {each.rolled_back}")
    return "\n".join(told)


def _line(entry: Entry, moved: tuple[Moved, ...], nights: Sequence[Night], main: str) -> Line:
    took = [each for each in moved if each.what in ("deployed", "rolled back to")]
    left = [each.reason for each in moved if each.what == "rolled back from"]
    run = entry.tags.get(record.DAGSTER_RUN, "")
    bad = worst(nights, main)
    return Line(
        version=entry.version,
        created=entry.created.isoformat(timespec="seconds"),
        by=took[0].actor if took else (f"dagster run {run[:8]}" if run else ""),
        aliases=entry.aliases,
        gates=entry.tags.get(record.GATES, "not evaluated"),
        deployed=took[0].at if took else "",
        rolled_back=entry.tags.get(record.QUARANTINED) or (left[-1] if left else ""),
        moves=moved,
        metrics={n: value for n, value in holdout_metrics(entry).items() if value == value},
        nights=len(nights),
        worst=bad.metrics[main] if bad else None,
        worst_day=bad.day if bad else "",
    )


def _cells(line: Line, main: str) -> tuple[str, ...]:
    value = line.metrics.get(main)
    return (
        " ".join((str(line.version), *line.aliases)),
        line.created[:16].replace("T", " "),
        "" if value is None else f"{value:.4g}",
        line.gates.partition(";")[0][:60],
        line.deployed[:16].replace("T", " ") or "never",
        line.by,
        str(line.nights),
        "" if line.worst is None else f"{line.worst:.4g} on {line.worst_day}",
    )
