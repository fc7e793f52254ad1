"""Whether a day's rows drifted from the reference, as a verdict and as people see it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from mlops_pipelines.measure.drift import ColumnDrift, Status, Verdict, drift_verdict
from mlops_pipelines.measure.profile import Profile, profile_like
from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

VISIBLE = 0.3
"""The distance that a day's rows must be able to show before the day is called `ok`.

About what a shift by one standard deviation makes; an alarm needs less, from 0.1 on.
"""

_BARS = 25
_NAMES = 4


@dataclass(frozen=True)
class Drift:
    """The verdict on the rows of one day and version, and how it is shown."""

    verdict: Verdict

    @property
    def status(self) -> Status:
        """ok, alarm or insufficient_data."""
        return self.verdict.status

    @property
    def columns(self) -> list[ColumnDrift]:
        """Every column, drifted ones first, then by distance."""
        return sorted(
            self.verdict.columns, key=lambda each: (not each.drifted, -each.distance, each.column)
        )

    @property
    def drifted(self) -> tuple[str, ...]:
        """The names of the columns that drifted, the farthest first."""
        return tuple(each.column for each in self.columns if each.drifted)

    @property
    def sentence(self) -> str:
        """What was found, naming the columns that drifted, the farthest first."""
        if self.status != "alarm":
            return self.verdict.reason
        drifted = [each for each in self.columns if each.drifted]
        named = "; ".join(f"{each.column}: {each.what}" for each in drifted[:_NAMES])
        more = f"; and {len(drifted) - _NAMES} more" if len(drifted) > _NAMES else ""
        return f"{len(drifted)} of {len(self.verdict.columns)} columns drifted: {named}{more}"

    def metrics(self) -> dict[str, float]:
        """What is logged of the night, to be plotted over days."""
        return {
            "drift_rows": self.verdict.n_window,
            "drift_columns": len(self.drifted),
            "drift_distance_max": max((each.distance for each in self.columns), default=0.0),
        }

    def markdown(self) -> str:
        """A table with a line per column."""
        lines = ["| column | distance | p | what changed |", "|---|---|---|---|"]
        for each in self.columns:
            name = f"**{_cell(each.column)}**" if each.drifted else _cell(each.column)
            lines.append(
                f"| {name} | {each.distance:.3f} | {each.p_value:.2g} | {_cell(each.what)} |"
            )
        return "\n".join(lines)

    def picture(self) -> str:
        """Markdown with the distances as bars beside the limit: an SVG data URI, under 40 kB."""
        encoded = base64.b64encode(self.svg().encode()).decode()
        return f"![Distance of each column from the reference](data:image/svg+xml;base64,{encoded})"

    def svg(self) -> str:
        """Bars of the farthest 25 columns; the full width is distance 1, nothing in common."""
        columns = self.columns[:_BARS]
        left, width, step = 190, 300, 18
        height = 30 + step * max(1, len(columns))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" ',
            f'height="{height}" ',
            'font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
        ]
        for place, each in enumerate(columns):
            top = 20 + step * place
            # A distance may come out a little below 0: it is corrected for few rows.
            bar = width * min(1.0, max(0.0, each.distance))
            colour = "#c0392b" if each.drifted else "#7f9bb3"
            name = each.column if len(each.column) <= 28 else f"{each.column[:27]}…"
            parts.append(
                f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{escape(name)}</text>'
                f'<rect x="{left}" y="{top}" width="{bar:.1f}" height="12" fill="{colour}"/>'
                f'<text x="{left + bar + 4:.1f}" y="{top + 10}">{each.distance:.2f}</text>'
            )
        limit = left + width * self.verdict.limit
        parts.append(
            f'<line x1="{limit:.1f}" x2="{limit:.1f}" y1="14" y2="{height - 6}" stroke="#222222" '
            f'stroke-dasharray="3 2"/><text x="{limit:.1f}" y="11" text-anchor="middle">'
            f"limit {self.verdict.limit:g}</text></svg>"
        )
        return "".join(parts)


def drift(registry: Registry, spec: ModelSpec, version: int, rows: pd.DataFrame) -> Drift:
    """The verdict on the rows that `version` answered, against its own reference profile."""
    profile = registry.fetch(spec.name, version, "profile.json").read_text(encoding="utf-8")
    return compare(spec, Profile.from_json(profile), rows)


def compare(spec: ModelSpec, reference: Profile, rows: pd.DataFrame) -> Drift:
    """The verdict over the columns of `reference`: features, and `score` where it has one.

    A column that no row has counts as missing throughout.
    """
    return Drift(
        drift_verdict(
            reference,
            profile_like(rows, reference),
            false_alarms_per_year=spec.monitor.false_alarms_per_year,
            visible=VISIBLE,
        )
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
