"""Whether a window of rows still looks like the reference, and which columns do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np

from mlops_pipelines.measure.chance import (
    Comparison,
    compare,
    contributions,
    distance_shown,
    rows_to_show,
)
from mlops_pipelines.measure.outputs import Codes
from mlops_pipelines.measure.profile import ColumnProfile, Profile, require_same_bins

Status = Literal["ok", "alarm", "insufficient_data"]


@dataclass(frozen=True)
class ColumnDrift:
    """How far one column moved: `distance` and `p_value` as in `chance.Comparison`.

    `what` says in a sentence what changed.
    """

    column: str
    distance: float
    p_value: float
    drifted: bool
    what: str


@dataclass(frozen=True)
class Verdict:
    """Whether a window drifted, with the evidence.

    `limit` is the distance from which a drift counts, `alpha` the chance that a window without
    drift raises an alarm, `detectable` the distance that so many rows show four times in five,
    `rows_needed` the rows at which a window would show `visible` as often (None where no window
    would, since the reference is too small).
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


def drift_verdict(
    reference: Profile,
    window: Profile,
    *,
    false_alarms_per_year: float,
    windows_per_year: float = 365,
    floor: float = 0.1,
    min_rows: int = 30,
    visible: float | None = None,
) -> Verdict:
    """Compares each column of two profiles of the same bins.

    A column drifted where both hold: its distance reaches `floor`, and it is significant at
    false_alarms_per_year / windows_per_year over all columns together (Holm 1979), as long as rows
    are drawn independently of each other. Fewer than `min_rows` rows are never an alarm. Without an
    alarm, a window whose rows would have missed a drift of `visible` (the floor unless given) is
    `insufficient_data` and not `ok`. The same profiles always give the same verdict.

    Raises ValueError where the bins differ, or the promised rate is not between 0 and 1 per window.
    """
    require_same_bins(reference, window)
    alpha = false_alarms_per_year / windows_per_year
    if not 0 < alpha < 1:
        raise ValueError(
            f"false_alarms_per_year: expected more than 0 and fewer than the {windows_per_year:g} "
            f"windows of a year, found {false_alarms_per_year:g}"
        )
    visible = floor if visible is None else visible
    strictest = alpha / max(1, len(reference.columns))
    cells = max((sum(map(bool, column.counts)) for column in reference.columns), default=2)
    needed = rows_to_show(visible, cells, strictest)
    rows_needed = _window_rows(needed, reference.n, min_rows)
    harmonic = reference.n * window.n / max(1, reference.n + window.n)
    detectable = distance_shown(harmonic, cells, strictest) if harmonic else 1.0

    def verdict(status: Status, reason: str, columns: tuple[ColumnDrift, ...]) -> Verdict:
        return Verdict(
            status,
            reason,
            columns,
            reference.n,
            window.n,
            rows_needed,
            detectable,
            visible,
            floor,
            alpha,
        )

    if min(reference.n, window.n) < min_rows:
        reason = f"{window.n} rows against {reference.n}: expected at least {min_rows} on each side"
        return verdict("insufficient_data", reason, ())

    columns = _judge_columns(reference, window, alpha, floor, strictest)
    drifted = [column.column for column in columns if column.drifted]
    if drifted:
        reason = f"{len(drifted)} of {len(columns)} columns drifted: {', '.join(drifted)}"
        return verdict("alarm", reason, columns)
    if rows_needed is None:
        reason = f"the reference has {reference.n} rows; to show a drift of {visible:g} takes more "
        return verdict("insufficient_data", f"{reason}than {ceil(needed)}", columns)
    if window.n < rows_needed:
        reason = f"{window.n} rows show a drift of {detectable:.2f} or more; {visible:g} takes "
        return verdict("insufficient_data", f"{reason}{rows_needed} rows", columns)
    reason = f"none of {len(columns)} columns drifted; {detectable:.2f} would have been seen"
    return verdict("ok", reason, columns)


def _window_rows(needed: float, n_reference: int, min_rows: int) -> int | None:
    if n_reference <= needed:
        return None
    return max(min_rows, ceil(needed * n_reference / (n_reference - needed)))


def _judge_columns(
    reference: Profile, window: Profile, alpha: float, floor: float, strictest: float
) -> tuple[ColumnDrift, ...]:
    pairs = list(zip(reference.columns, window.columns, strict=True))
    found = [
        compare(
            _expected(before, after),
            np.array(after.counts, dtype=np.int64),
            np.random.default_rng([0, place]),
            strictest,
        )
        for place, (before, after) in enumerate(pairs)
    ]
    significant = _holm([one.p_value for one in found], alpha)
    return tuple(
        _column_drift(before, after, one, significant=sure, floor=floor)
        for (before, after), one, sure in zip(pairs, found, significant, strict=True)
    )


def _expected(reference: ColumnProfile, window: ColumnProfile) -> Codes:
    """The reference's counts, with one row beyond an end or of unknown level if the window has any.

    These cells are empty only because the bins were made from these very rows: of n rows drawn
    anew, about n / (n_reference + 1) lie beyond each end.
    """
    counts = np.array(reference.counts, dtype=np.int64)
    for cell in (0, -2) if reference.kind == "numeric" else (-2,):
        counts[cell] = max(counts[cell], min(window.counts[cell], 1))
    return counts


def _column_drift(
    before: ColumnProfile,
    after: ColumnProfile,
    found: Comparison,
    *,
    significant: bool,
    floor: float,
) -> ColumnDrift:
    drifted = significant and found.distance >= floor
    if drifted:
        what = describe(before, after)
    elif significant:
        what = f"changed, but by less than {floor:g}"
    else:
        what = "no more than chance explains"
    return ColumnDrift(before.name, found.distance, found.p_value, drifted, what)


def _holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which are significant together at level alpha, stepping down from the smallest."""
    significant = [False] * len(p_values)
    for step, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] > alpha / (len(p_values) - step):
            break
        significant[place] = True
    return significant


def describe(before: ColumnProfile, after: ColumnProfile) -> str:
    """What changed most between two profiles of one column, in words."""
    was, now = (np.array(one.counts) / max(1, one.n) for one in (before, after))
    cell = int(contributions(was[None], now[None])[0].argmax())
    share = f"went from {was[cell]:.1%} to {now[cell]:.1%} of rows"
    place = before.cells[cell]
    last = len(was) - 1
    if cell == last:
        return f"missing values {share}"
    if before.kind == "categorical":
        unknown = "levels that the reference does not know, or hardly,"
        return f"{unknown} {share}" if cell == last - 1 else f"level {place} {share}"
    low, _, high = place.partition(" to ")
    between = f"value {low}" if low == high else f"values from {place}"
    values = f"values {place} {share}" if cell in (0, last - 1) else f"{between} {share}"
    return f"{_mean_moved(before, after)}; {values}"


def _mean_moved(before: ColumnProfile, after: ColumnProfile) -> str:
    was, now = before.mean, after.mean
    if was is None or now is None:
        return "values where there were none"
    moved = f"mean moved from {was:.4g} to {now:.4g}"
    # A factor means something only for a quantity that has a zero: one that was always above it.
    if before.edges[0] <= 0 or now <= 0 or was / 2 < now < was * 2:
        return moved
    factor = f"{now / was:.3g}× larger" if now > was else f"{was / now:.3g}× smaller"
    return f"{moved} (about {factor})"
