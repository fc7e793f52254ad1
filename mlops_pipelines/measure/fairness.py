"""How far a model's metrics differ between groups of rows, and what chance alone would make of it.

The widest gap among many groups is large by chance alone, so the intervals hold for all pairs of
groups at once: each pair's difference ± c times its standard error, c being the 95th percentile of
the largest standardised deviation of any pair under the bootstrap (rows drawn within each group).
This is the single-step procedure of Westfall & Young (1993, section 2.4), as Tukey and Kramer's is
for normal means. A model whose true gap is exactly a bound is found beyond it by its whole
interval in about 5 % of all evaluations, however many groups there are; simulated with 2 to 10
groups of 30 rows or more, in 1 to 9 %, and 13 % with 10 groups of just 30.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mlops_pipelines.measure import group_rates
from mlops_pipelines.measure.metrics import METRICS
from mlops_pipelines.measure.outputs import Codes, Floats, Judged, Outputs, judge
from mlops_pipelines.measure.slices import by_slice

MIN_ROWS = 30
"""Rows of a group below which nothing is said of it; of the positive ones, for their rate."""

GAPS: dict[str, tuple[str, ...]] = {
    "demographic_parity_difference": ("selection_rate",),
    "equal_opportunity_difference": ("true_positive_rate",),
    "false_positive_rate_difference": ("false_positive_rate",),
    "equalized_odds_difference": ("true_positive_rate", "false_positive_rate"),
    "mean_error_difference": ("mean_error",),
    **{f"{name}_difference": (name,) for name in METRICS},
}
"""The rates or metrics of which a gap is the widest difference between two groups."""

_DRAWS = 20_000_000
_NAMED = 5


@dataclass(frozen=True)
class Group:
    """One value of a segment: its n rows, and each rate or metric that a gap is made of."""

    value: str
    n: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Gap:
    """The widest difference between two groups of `segment`, with its 95 % interval.

    None where fewer than two groups have the rows that it takes. `between` are the two groups,
    the one with the smaller value first. `left_out` are the groups with too few rows, and how many
    rows of the kind that counts they have.
    """

    name: str
    segment: str
    value: float | None
    low: float | None
    high: float | None
    between: tuple[str, str] | None
    groups: tuple[Group, ...]
    left_out: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON value, in which an evaluation keeps it."""
        return {
            "gap": self.name,
            "segment": self.segment,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "between": None if self.between is None else list(self.between),
            "groups": [
                {"value": each.value, "rows": each.n, "values": dict(each.values)}
                for each in self.groups
            ],
            "left_out": dict(self.left_out),
        }

    def within(self, bound: float) -> bool:
        """Whether it was measured, and is at most `bound`."""
        return self.value is not None and self.value <= bound

    def clearly_beyond(self, bound: float) -> bool:
        """Whether its whole interval lies above `bound`."""
        return self.low is not None and self.low > bound

    def judged(self, bound: float) -> str:
        """The gap beside `bound`, in one sentence."""
        what = f"{self.name} between groups of {self.segment}"
        if self.value is None or self.low is None or self.high is None or self.between is None:
            return f"{what} cannot be measured: {self.too_few()}"
        verb = "is at most" if self.within(bound) else "is above"
        text = (
            f"{what} {self.value:.4g} {verb} {bound:g} (95 % interval {self.low:.4g} to "
            f"{self.high:.4g}; widest between {self.between[0]} and {self.between[1]})"
        )
        return f"{text}; left out: {_listed(self.left_out)}" if self.left_out else text

    def too_few(self) -> str:
        """Why nothing can be said, or of which groups."""
        if not self.left_out:
            return f"two groups are needed, and there is {len(self.groups) or 'none'}"
        return f"{MIN_ROWS} rows are needed of each group, and there are: {_listed(self.left_out)}"


def gaps(
    names: Sequence[str],
    truth: ArrayLike,
    outputs: Outputs,
    classes: Sequence[Hashable],
    segments: pd.DataFrame,
    *,
    seed: int,
    min_rows: int = MIN_ROWS,
) -> tuple[Gap, ...]:
    """Each of the gaps `names` for each column of `segments`; see GAPS for what they are.

    Of two classes the last is positive; none means regression. Rows without a value make a group
    of their own, named "missing". Raises DataError as `judge` does.
    """
    rows = judge(truth, outputs, classes)
    resamples = max(200, min(1000, _DRAWS // max(len(rows), 1)))
    found: list[Gap] = []
    for segment in segments.columns:
        places = {
            part.value: part.result
            for part in by_slice(segments[[segment]], lambda at: at, min_rows=1)
            if part.result is not None
        }
        found += _of_segment(str(segment), names, rows, places, resamples, seed, min_rows)
    return tuple(found)


def gaps_table(between: Sequence[Gap]) -> list[str]:
    """The gaps as lines of a Markdown table; none where there are none."""
    if not between:
        return []
    lines = [
        "",
        "| gap between groups | value | 95 % interval | widest between |",
        "|---|---|---|---|",
    ]
    for gap in between:
        name = _cell(f"{gap.segment}: {gap.name}")
        if gap.value is None or gap.between is None:
            lines.append(f"| {name} | | | {_cell(gap.too_few())} |")
            continue
        pair = _cell(" and ".join(gap.between))
        lines.append(f"| {name} | {gap.value:.4g} | {gap.low:.4g} to {gap.high:.4g} | {pair} |")
    return lines


def _of_segment(
    segment: str,
    names: Sequence[str],
    rows: Judged,
    places: Mapping[str, Codes],
    resamples: int,
    seed: int,
    min_rows: int,
) -> Iterator[Gap]:
    rates = tuple(dict.fromkeys(rate for name in names for rate in GAPS[name]))
    parts = {value: group_rates.take(rows, at) for value, at in places.items()}
    counted = {
        value: {r: group_rates.counted(r, part) for r in rates} for value, part in parts.items()
    }
    known = group_rates.by_group(rates, rows, places)
    rng = np.random.default_rng(seed)
    # Drawn once for each group, so that all gaps are of the same resamples.
    drawn = {
        value: group_rates.drawn(rates, part, resamples, rng)
        for value, part in parts.items()
        if len(part) >= min_rows
    }
    for name in names:
        used = {
            value: {rate: known[value][rate] for rate in GAPS[name]}
            for value in drawn
            if all(counted[value][r] >= min_rows for r in GAPS[name])
            and all(np.isfinite(known[value][r]) for r in GAPS[name])
        }
        groups = tuple(Group(value, len(parts[value]), of) for value, of in used.items())
        left_out = {
            value: min(counted[value][rate] for rate in GAPS[name])
            for value in places
            if value not in used
        }
        if len(groups) < 2:
            yield Gap(name, segment, None, None, None, None, groups, left_out)
            continue
        value, between, low, high = _widest(GAPS[name], groups, parts, drawn)
        yield Gap(name, segment, value, low, high, between, groups, left_out)


def _widest(
    rates: Sequence[str],
    groups: Sequence[Group],
    parts: Mapping[str, Judged],
    drawn: Mapping[str, Mapping[str, Floats]],
) -> tuple[float, tuple[str, str], float, float]:
    """The widest gap over the rates, between whom, and its interval over all pairs at once."""
    best, between = -1.0, (groups[0].value, groups[0].value)
    largest: Floats | None = None
    pairs: list[tuple[float, float]] = []
    for rate in rates:
        values = np.array([group.values[rate] for group in groups])
        spread = float(np.ptp(values))
        if spread > best:
            at = (int(values.argmin()), int(values.argmax()))
            best, between = spread, (groups[at[0]].value, groups[at[1]].value)
        resampled = np.array([drawn[group.value][rate] for group in groups])
        errors = np.nan_to_num(resampled - values[:, None])
        floors = np.array([group_rates.least_error(rate, parts[group.value]) for group in groups])
        deviations = np.maximum(errors.std(axis=1), floors)
        for i in range(len(groups) - 1):
            se = np.sqrt(deviations[i] ** 2 + deviations[i + 1 :] ** 2)
            apart = np.abs(errors[i] - errors[i + 1 :]) / np.maximum(se, 1e-300)[:, None]
            top = apart.max(axis=0)
            largest = top if largest is None else np.maximum(largest, top)
            distances = np.abs(values[i] - values[i + 1 :])
            pairs += zip(distances.tolist(), se.tolist(), strict=True)
    assert largest is not None
    critical = float(np.quantile(largest, 0.95))
    low = max(0.0, max(distance - critical * se for distance, se in pairs))
    high = max(distance + critical * se for distance, se in pairs)
    return best, between, low, high


def _listed(left_out: Mapping[str, int]) -> str:
    named = [f"{value} ({n})" for value, n in list(left_out.items())[:_NAMED]]
    more = len(left_out) - len(named)
    return ", ".join(named) + (f" and {more} others" if more else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
