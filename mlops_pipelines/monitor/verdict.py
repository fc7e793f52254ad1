"""Whether a day's rows drifted from the reference, as a verdict and as people see it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.evidence import ColumnDrift, Status, Verdict
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Profile, profile_like
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.reference import REFERENCE

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

_BARS = 25
_NAMES = 4
_STATISTICS = {
    "distance": "distance",
    "ranks": "rank shift",
    "one bin": "one bin",
    "missing": "missing values",
    "ranks alone": "rank shift that the other columns do not explain",
}


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
        drifted = [each for each in self.columns if each.drifted]
        if self.status != "alarm" or not drifted:
            return self.verdict.reason
        named = "; ".join(f"{each.column}: {each.what}" for each in drifted[:_NAMES])
        more = f"; and {len(drifted) - _NAMES} more" if len(drifted) > _NAMES else ""
        return f"{len(drifted)} of {len(self.verdict.columns)} columns drifted: {named}{more}"

    @property
    def promise(self) -> str:
        """What false alarms the verdict allows, and on what that rests."""
        found = self.verdict
        wanted = f"false alarms: 1 in {1 / found.alpha:,.0f} windows wanted"
        if not found.blocks:
            return f"{wanted}; rows are taken as drawn independently of each other"
        kind = {"rows": "windows"}.get(found.unit, f"{found.unit}s")
        carried = f"{found.blocks} {kind} of the reference carry 1 in {1 / found.attainable:,.0f}"
        measured = "" if found.measured is None else f"; {found.measured:.1%} of them stood out"
        return f"{wanted}, {carried}{measured}"

    def metrics(self) -> dict[str, float]:
        """What is logged of the night, to be plotted over days."""
        return {
            "drift_rows": self.verdict.n_window,
            "drift_columns": len(self.drifted),
            "drift_distance_max": max((each.distance for each in self.columns), default=0.0),
            "drift_evidence": self.verdict.largest,
            "drift_evidence_limit": self.verdict.threshold,
        }

    def markdown(self) -> str:
        """A table with a line per column, and below it what the verdict rests on."""
        lines = [
            "| column | distance | floor | evidence | p | what changed | bins that moved most |",
            "|---|---|---|---|---|---|---|",
        ]
        for each in self.columns:
            name = f"**{_cell(each.column)}**" if each.drifted else _cell(each.column)
            evidence = f"{each.decades:.1f} ({_STATISTICS.get(each.statistic, '')})"
            lines.append(
                f"| {name} | {each.distance:.3f} | {each.floor:g} | {evidence} "
                f"| {each.p_value:.2g} | {_cell(each.what)} | {_cell('; '.join(each.moved))} |"
            )
        return "\n".join([*lines, "", *self._rests_on()])

    def _rests_on(self) -> list[str]:
        found = self.verdict
        lines = [
            f"Largest evidence {found.largest:.1f} of {found.threshold:.1f} decades that it takes; "
            f"{self.promise}."
        ]
        for each in found.sums:
            named = f"drifted: {', '.join(each.drifted)}" if each.drifted else "no column drifted"
            carried = f"; {each.blocks} such carry 1 in {1 / each.attainable:,.0f}"
            lines.append(
                f"Over {each.windows} windows together ({each.rows:,} rows), {_cell(named)}: "
                f"{each.largest:.1f} of {each.threshold:.1f} decades"
                f"{carried if each.blocks else ''}."
            )
        changed = [each.column for each in found.previous if each.significant]
        if found.previous:
            said = ", ".join(changed) or "no column"
            lines.append(f"Changed since the previous window: {_cell(said)}.")
        for name, parts in found.segments.items():
            for value, part in parts.items():
                lines.append(
                    f"{_cell(name)} {_cell(value)} ({part.n_window:,} rows): {_cell(part.reason)}."
                )
        return [line + "\n" for line in lines]

    def picture(self) -> str:
        """Markdown with the distances as bars beside the limit: an SVG data URI, under 40 kB."""
        encoded = base64.b64encode(self.svg().encode()).decode()
        return f"![Distance of each column from the reference](data:image/svg+xml;base64,{encoded})"

    def svg(self) -> str:
        """Two bars for each of the first 25 columns: distance (full: 1) and evidence (decades)."""
        columns = self.columns[:_BARS]
        left, width, gap, step = 190, 260, 70, 18
        second = left + width + gap
        height = 36 + step * max(1, len(columns))
        threshold = self.verdict.threshold
        full = max(2 * threshold, 1.0)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{second + width + 50}" ',
            f'height="{height}" font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
        ]
        labels = []
        for place, each in enumerate(columns):
            top = 28 + step * place
            colour = "#c0392b" if each.drifted else "#7f9bb3"
            name = each.column if len(each.column) <= 28 else f"{each.column[:27]}…"
            parts.append(
                f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{escape(name)}</text>'
            )
            bars = (
                (left, each.distance, f"{each.distance:.2f}"),
                (second, each.decades / full, f"{each.decades:.1f}"),
            )
            for start, share, said in bars:
                bar = width * min(1.0, max(0.0, share))
                parts.append(
                    f'<rect x="{start}" y="{top}" width="{bar:.1f}" height="12" fill="{colour}"/>'
                )
                labels.append(f'<text x="{start + bar + 4:.1f}" y="{top + 10}">{said}</text>')
            if each.floor != self.verdict.limit:
                floor = left + width * each.floor
                parts.append(
                    f'<line x1="{floor:.1f}" x2="{floor:.1f}" y1="{top - 3}" y2="{top + 15}" '
                    'stroke="#222222"/>'
                )
        for start, share, said in (
            (left, self.verdict.limit, f"distance, limit {self.verdict.limit:g}"),
            (second, threshold / full, f"evidence, limit {threshold:.1f}"),
        ):
            at = start + width * share
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="20" y2="{height - 6}" stroke="#222222" '
                f'stroke-dasharray="3 2"/><text x="{start}" y="14">{said}</text>'
            )
        # The numbers come last, on a rim of white, so that no line crosses them.
        rim = '<g paint-order="stroke" stroke="#ffffff" stroke-width="4">'
        return "".join([*parts, rim, *labels, "</g></svg>"])


def open_reference(registry: Registry, model: str, version: int) -> Reference:
    """What a version's windows are compared with."""
    from mlops_pipelines.errors import NotFoundError

    try:
        return Reference.from_bytes(registry.fetch(model, version, REFERENCE).read_bytes())
    except NotFoundError:
        profile = registry.fetch(model, version, "profile.json").read_text(encoding="utf-8")
        return Reference.alone(Profile.from_json(profile))


def drift(registry: Registry, spec: ModelSpec, version: int, rows: pd.DataFrame) -> Drift:
    """The verdict on the rows that `version` answered, against its own reference."""
    return compare(spec, open_reference(registry, spec.name, version), rows)


def compare(spec: ModelSpec, reference: Reference | Profile, rows: pd.DataFrame) -> Drift:
    """The verdict over the columns of the reference: features, and `score` where it has one.

    A column that no row has counts as missing throughout.
    """
    profile = reference if isinstance(reference, Profile) else reference.profile
    return judge(spec, reference, profile_like(rows, profile))


def judge(
    spec: ModelSpec,
    reference: Reference | Profile,
    window: Profile,
    *,
    accepted: Sequence[Profile] = (),
    previous: Profile | None = None,
    recent: Sequence[Profile] | None = None,
    segments: Mapping[str, Mapping[str, Profile]] | None = None,
    windows_per_year: float = 365,
) -> Drift:
    """The verdict on a window's profile; see `measure.drift.drift_verdict`."""
    declared = spec.monitor.drift
    return Drift(
        drift_verdict(
            reference,
            window,
            false_alarms_per_year=spec.monitor.false_alarms_per_year,
            windows_per_year=windows_per_year,
            floor=declared.floor,
            floors=declared.floors,
            directions=declared.directions,
            visible=declared.visible,
            accepted=accepted,
            previous=previous,
            recent=recent,
            segments=segments,
        )
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
