"""Whether a window of rows still looks like the reference, and which columns do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from mlops_pipelines.measure.blocks import Observed, observe, restricted
from mlops_pipelines.measure.chance import distance_shown, rows_to_show
from mlops_pipelines.measure.describe import describe, moved
from mlops_pipelines.measure.evidence import ColumnDrift, Status, Together, Verdict
from mlops_pipelines.measure.family import Found, judge
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Profile, add, require_same_bins

BLOCKS_PER_YEAR = {"day": 365, "week": 52, "month": 12}

LENGTHS = (7, 28)
"""Windows whose rows are added up, so that a slow drift is found that none of them shows."""


def drift_verdict(
    reference: Reference | Profile,
    window: Profile,
    *,
    false_alarms_per_year: float,
    windows_per_year: float = 365,
    floor: float = 0.1,
    floors: Mapping[str, float] | None = None,
    directions: Mapping[str, str] | None = None,
    min_rows: int = 30,
    visible: float | None = None,
    accepted: Sequence[Profile] = (),
    previous: Profile | None = None,
    recent: Sequence[Profile] | None = None,
    segments: Mapping[str, Mapping[str, Profile]] | None = None,
) -> Verdict:
    """Compares each column of a window with the reference, in the reference's bins.

    A column drifted where both hold: its distance reaches `floor` (or its own of `floors`), and it
    is significant at false_alarms_per_year / windows_per_year over all columns and statistics
    together. A column of `directions` ("up", "down") counts only if its values moved that way.
    Fewer than `min_rows` rows are never an alarm. Without an alarm, a window whose rows would have
    missed a drift of `visible` (the floor unless given) is `insufficient_data` and not `ok`, unless
    the windows that are judged together would have shown it. The same profiles always give the
    same verdict.

    `accepted` are earlier windows in which nothing was wrong, newest last: they show, beside the
    reference's own blocks, how much windows differ by nature. With `recent`, the windows before
    this one, newest last, 7 and 28 windows are judged together too, and with `segments` parts of
    the rows by column and value; the promised rate is shared between all of these. `previous` is
    compared with, but raises no alarm.

    Raises ValueError where the bins differ, or the promised rate is not between 0 and 1 per window.
    """
    if isinstance(reference, Profile):
        reference = Reference.alone(reference)
    alpha = false_alarms_per_year / windows_per_year
    if not 0 < alpha < 1:
        raise ValueError(
            f"false_alarms_per_year: expected more than 0 and fewer than the {windows_per_year:g} "
            f"windows of a year, found {false_alarms_per_year:g}"
        )
    for other in (window, *accepted, *(recent or ()), *([previous] if previous else [])):
        require_same_bins(reference.profile, other)
    ask = _Question(
        reference,
        floor,
        floors or {},
        directions or {},
        tuple(accepted),
        min_rows,
        floor if visible is None else visible,
        BLOCKS_PER_YEAR.get(reference.unit, windows_per_year) / windows_per_year,
    )
    whole = alpha if segments is None else alpha / 2
    found = _verdict(ask, window, whole if recent is None else whole / 2)
    if recent is not None and window.n:
        found = _with_sums(ask, found, [*recent, window], whole / 2 / len(LENGTHS))
    if previous is not None and min(previous.n, window.n) >= min_rows:
        columns = _columns(ask, window, previous, _judged(ask, window, alpha, against=previous))
        found = replace(found, previous=columns)
    if segments is not None:
        found = _with_segments(ask, found, segments, alpha / 2)
    return replace(found, alpha=alpha, attainable=max(alpha, found.attainable))


@dataclass(frozen=True)
class _Question:
    """What stays the same over all comparisons of one verdict."""

    reference: Reference
    floor: float
    floors: Mapping[str, float]
    directions: Mapping[str, str]
    accepted: tuple[Profile, ...]
    min_rows: int
    visible: float
    blocks_per_window: float

    def observed(self, windows: int = 1) -> Observed | None:
        """The blocks by which so many windows are judged."""
        together = max(1, round(windows * self.blocks_per_window))
        own = self.reference.blocks
        return observe(self.reference.profile, own, self.accepted, together, windows)

    @property
    def each_floor(self) -> list[float]:
        columns = self.reference.profile.columns
        return [self.floors.get(column.name, self.floor) for column in columns]


def _verdict(ask: _Question, window: Profile, alpha: float) -> Verdict:
    reference = ask.reference.profile
    n, m = reference.n, window.n
    found = _judged(ask, window, alpha) if min(n, m) >= ask.min_rows else None
    strictest = alpha / max(1, len(reference.columns)) if found is None else 10**-found.limit
    cells = _cells(reference)
    needed = rows_to_show(ask.visible, cells, strictest)
    rows_needed = _window_rows(needed, n, ask.min_rows)
    detectable = distance_shown(n * m / (n + m), cells, strictest) if n and m else 1.0

    def verdict(status: Status, reason: str, columns: tuple[ColumnDrift, ...]) -> Verdict:
        shown = Verdict(
            status, reason, columns, n, m, rows_needed, detectable, ask.visible, ask.floor, alpha
        )
        if found is None:
            return shown
        return replace(
            shown,
            largest=found.largest,
            threshold=found.limit,
            p_value=found.chance,
            attainable=found.attainable,
            measured=found.measured,
            blocks=found.blocks,
            unit=ask.reference.unit,
        )

    if found is None:
        reason = f"{m} rows against {n}: expected at least {ask.min_rows} on each side"
        return verdict("insufficient_data", reason, ())
    columns = _columns(ask, window, reference, found)
    drifted = [column.column for column in columns if column.drifted]
    if drifted:
        reason = f"{len(drifted)} of {len(columns)} columns drifted: {', '.join(drifted)}"
        return verdict("alarm", reason, columns)
    if rows_needed is None:
        reason = f"the reference has {n} rows; to show a drift of {ask.visible:g} takes more "
        return verdict("insufficient_data", f"{reason}than {ceil(needed)}", columns)
    if m < rows_needed:
        reason = f"{m} rows show a drift of {detectable:.2f} or more; {ask.visible:g} takes "
        return verdict("insufficient_data", f"{reason}{rows_needed} rows", columns)
    reason = f"none of {len(columns)} columns drifted; {detectable:.2f} would have been seen"
    return verdict("ok", reason, columns)


def _cells(reference: Profile) -> int:
    """Of the column that has the most of them: its drift takes the most rows to show."""
    return max((sum(map(bool, column.counts)) for column in reference.columns), default=2)


def _window_rows(needed: float, n_reference: int, min_rows: int) -> int | None:
    if n_reference <= needed:
        return None
    return max(min_rows, ceil(needed * n_reference / (n_reference - needed)))


def _judged(
    ask: _Question,
    window: Profile,
    alpha: float,
    windows: int = 1,
    against: Profile | None = None,
) -> Found:
    return judge(
        ask.reference,
        window,
        alpha,
        np.array(ask.each_floor),
        ask.directions,
        ask.observed(windows),
        against,
        rough=windows > 1 or against is not None,
    )


def _columns(
    ask: _Question, window: Profile, before: Profile, found: Found
) -> tuple[ColumnDrift, ...]:
    columns = []
    for place, (was, now) in enumerate(zip(before.columns, window.columns, strict=True)):
        floor = ask.each_floor[place]
        distance, significant = float(found.distances[place]), bool(found.significant[place])
        drifted = significant and distance >= floor
        if drifted:
            what = describe(was, now)
        elif significant:
            what = f"changed, but by less than {floor:g}"
        else:
            what = "no more than chance explains"
        columns.append(
            ColumnDrift(
                was.name,
                distance,
                float(found.chances[place]),
                drifted,
                what,
                found.statistics[place],
                float(found.decades[place]),
                floor,
                significant,
                moved(was, now) if significant else (),
            )
        )
    return tuple(columns)


def _with_sums(ask: _Question, night: Verdict, windows: Sequence[Profile], alpha: float) -> Verdict:
    """The verdict with what 7 and 28 windows show together; each has `alpha` of its own."""
    sums = []
    for length in LENGTHS:
        if len(windows) < length:
            continue
        total = add(*windows[-length:])
        if min(total.n, ask.reference.profile.n) < ask.min_rows:
            continue
        found = _judged(ask, total, alpha, length)
        columns = _columns(ask, total, ask.reference.profile, found)
        n, m = ask.reference.profile.n, total.n
        shown = distance_shown(n * m / (n + m), _cells(ask.reference.profile), 10**-found.limit)
        carried = (found.attainable, found.blocks)
        sums.append(Together(length, m, columns, found.largest, found.limit, shown, *carried))
    night = replace(night, sums=tuple(sums))
    for each in sums:
        if night.status != "alarm" and each.drifted:
            many = f"{len(each.drifted)} of {len(each.columns)} columns drifted"
            reason = f"over {each.windows} windows together, {many}: {', '.join(each.drifted)}"
            night = replace(night, status="alarm", reason=reason)
    if night.status == "insufficient_data":
        # A model that few rows ask a day is judged by its week, or by its four weeks.
        enough = [each for each in sums if each.detectable <= ask.visible]
        if enough:
            first = enough[0]
            reason = (
                f"{night.n_window} rows alone are too few; over {first.windows} windows together "
                f"({first.rows:,} rows) none of {len(first.columns)} columns drifted; "
                f"{first.detectable:.2f} would have been seen"
            )
            night = replace(
                night,
                status="ok",
                reason=reason,
                attainable=first.attainable,
                blocks=first.blocks,
                unit=ask.reference.unit,
            )
    return night


def _of_the_reference(reference: Reference, window: Profile) -> Profile:
    """Only the columns that a segment's reference knows: what was answered is not among them."""
    names = frozenset(column.name for column in reference.profile.columns)
    return restricted(window, names)


def _with_segments(
    ask: _Question, whole: Verdict, segments: Mapping[str, Mapping[str, Profile]], alpha: float
) -> Verdict:
    """The verdict with those on the segments, which share `alpha` by how many there can be."""
    known = ask.reference.segments
    share = alpha / max(1, sum(map(len, known.values())))
    found = {
        name: {
            value: _verdict(
                replace(ask, reference=known[name][value], accepted=()),
                _of_the_reference(known[name][value], window),
                share,
            )
            for value, window in parts.items()
            if value in known.get(name, {})
        }
        for name, parts in segments.items()
    }
    whole = replace(whole, segments=found)
    drifted = [
        f"{name} {value}: {verdict.reason}"
        for name, parts in found.items()
        for value, verdict in parts.items()
        if verdict.status == "alarm"
    ]
    if drifted and whole.status != "alarm":
        return replace(whole, status="alarm", reason="; ".join(drifted))
    return whole
