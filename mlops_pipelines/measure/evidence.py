"""A verdict on drift, with the evidence that it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mlops_pipelines.measure.null import Unit

Status = Literal["ok", "alarm", "insufficient_data"]


@dataclass(frozen=True)
class ColumnDrift:
    """How far one column moved.

    `distance` is Jensen–Shannon (0 same, 1 nothing in common), less what chance alone shows;
    `floor` is the distance from which it counts. `p_value` is the chance that any column no more
    conspicuous than this one looks like it where nothing changed (Westfall & Young, stepped down);
    `statistic` names what was most conspicuous and `decades` how much, on a scale where 3 is
    reached by chance about once in 1,000. `what` says in a sentence what changed, `moved` names the
    bins that moved most.
    """

    column: str
    distance: float
    p_value: float
    drifted: bool
    what: str
    statistic: str = ""
    decades: float = 0.0
    floor: float = 0.0
    significant: bool = False
    moved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Together:
    """Several windows added up and judged as one: how many, their rows, and what they show.

    `detectable` is the distance that so many rows show four times in five, `attainable` the rate of
    false alarms that the `blocks` it was judged by can promise.
    """

    windows: int
    rows: int
    columns: tuple[ColumnDrift, ...]
    largest: float
    threshold: float
    detectable: float = 1.0
    attainable: float = 0.0
    blocks: int = 0

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that drifted over these windows."""
        return tuple(each.column for each in self.columns if each.drifted)


@dataclass(frozen=True)
class Verdict:
    """Whether a window drifted, with the evidence.

    `limit` is the distance from which a drift counts, `alpha` the chance that a window without
    drift raises an alarm, `detectable` the distance that so many rows show four times in five,
    `rows_needed` the rows at which a window would show `visible` as often (None where no window
    would, since the reference is too small).

    `largest` is the most conspicuous statistic of all columns, in decades, and `threshold` what it
    must reach; `p_value` the chance of it. Where the reference has `blocks`, `unit` says what they
    are: the `attainable` rate of false alarms is then what so many can promise, and `measured` the
    share of them that the others would have called drifted.

    `sums` are windows added up, `previous` the columns as they differ from the previous window
    (which raises no alarm), `segments` the verdicts on parts of the rows.
    """

    status: Status
    reason: str
    columns: tuple[ColumnDrift, ...]
    n_reference: int
    n_window: int
    rows_needed: int | None
    detectable: float
    visible: float
    limit: float
    alpha: float
    largest: float = 0.0
    threshold: float = 0.0
    p_value: float = 1.0
    attainable: float = 0.0
    measured: float | None = None
    blocks: int = 0
    unit: Unit = "rows"
    sums: tuple[Together, ...] = ()
    previous: tuple[ColumnDrift, ...] = ()
    segments: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
