"""What changed between two profiles of one column, in words."""

from __future__ import annotations

import numpy as np

from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.measure.profile import ColumnProfile


def describe(before: ColumnProfile, after: ColumnProfile) -> str:
    """What changed most between two profiles of one column."""
    was, now = _shares(before), _shares(after)
    cell = int(_contributions(was, now).argmax())
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


def moved(before: ColumnProfile, after: ColumnProfile, most: int = 3) -> tuple[str, ...]:
    """The bins that moved most and by how much, as `45 to 61: 5.0% → 11.2%`; unchanged ones not."""
    was, now = _shares(before), _shares(after)
    order = np.argsort(-_contributions(was, now), kind="stable")[:most]
    return tuple(
        f"{before.cells[cell]}: {was[cell]:.1%} → {now[cell]:.1%}"
        for cell in order
        if f"{was[cell]:.1%}" != f"{now[cell]:.1%}"
    )


def _shares(column: ColumnProfile) -> Floats:
    return np.array(column.counts) / max(1, column.n)


def _contributions(was: Floats, now: Floats) -> Floats:
    """The part of each cell in the Jensen–Shannon divergence of two windows' shares."""
    middle = np.maximum((was + now) / 2, 1e-300)
    return sum(each * np.log(np.maximum(each, 1e-300) / middle) for each in (was, now))  # type: ignore[return-value]


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
