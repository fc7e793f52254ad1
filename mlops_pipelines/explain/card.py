"""The model card of a version: its record, told to people who decide whether to use the model.

After Mitchell et al. 2019, "Model Cards for Model Reporting", whose sections it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.record_schema import Record
from mlops_pipelines.explain.sources import Sources, document
from mlops_pipelines.measure.fairness import MIN_ROWS
from mlops_pipelines.monitor.fairness import logged_as
from mlops_pipelines.release.evaluation_record import EVALUATION
from mlops_pipelines.release.security.report import FILE as SECURITY
from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

CARD = "model_card.html"
"""Artifact of a version: its card as it was when the version was released last."""

_RARE = 0.1
_SMALL = 500


@dataclass(frozen=True)
class Watched:
    """A gap between groups on the last night that it could be measured."""

    day: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Card:
    """What the card of a version rests on.

    `gaps` (measure.fairness.Gap.as_dict) and `security` (its report) are None where they were not
    kept. `watched` holds the gaps since by (segment, gap), `limits` what it must not be relied on
    for, a sentence each.
    """

    record: Record
    spec: ModelSpec
    gaps: tuple[Mapping[str, Any], ...] | None
    security: Mapping[str, Any] | None
    watched: Mapping[tuple[str, str], Watched]
    limits: tuple[str, ...]


def card(sources: Sources, spec: ModelSpec, version: int) -> Card:
    """The card of a version as it is on record now; raises NotFoundError, TrackingError."""
    record = lineage(sources, spec.name, version, spec.main_metric)
    entry = sources.books.version(spec.name, version)
    evaluation = document(sources.books, entry, EVALUATION) or {}
    found = evaluation.get("fairness")
    gaps = None if found is None else tuple(found)
    return Card(
        record=record,
        spec=spec,
        gaps=gaps,
        security=document(sources.books, entry, SECURITY),
        watched=_watched(sources, spec, version),
        limits=tuple(_limits(record, spec, gaps)),
    )


def attach_card(sources: Sources, registry: Registry, spec: ModelSpec, version: int) -> None:
    """Keep the card as an artifact of the MLflow version, over an older one.

    Raises NotFoundError, TrackingError.
    """
    from mlops_pipelines.explain.card_page import card_page
    from mlops_pipelines.train.kept import keep_hashed

    page = card_page(card(sources, spec, version)).encode()
    keep_hashed(registry, spec.name, version, {CARD: page})


def _watched(sources: Sources, spec: ModelSpec, version: int) -> dict[tuple[str, str], Watched]:
    named = {
        (segment, gap): logged_as(segment, gap)
        for segment in spec.data.segments
        for gap in spec.gaps
    }
    if not named:
        return {}
    wanted = [f"{name}{end}" for name in named.values() for end in ("", "_low", "_high")]
    found: dict[tuple[str, str], Watched] = {}
    for night in sources.books.nights(spec.name, wanted, version):
        for key, name in named.items():
            if name in night.metrics:
                low, high = (night.metrics.get(f"{name}{end}") for end in ("_low", "_high"))
                found[key] = Watched(night.day, night.metrics[name], low, high)
    return found


def _limits(
    record: Record, spec: ModelSpec, gaps: Sequence[Mapping[str, Any]] | None
) -> Iterator[str]:
    """What the data does not cover, and what could not be measured."""
    yield from (limit.rstrip(".") for limit in spec.card.limits)
    if record.quarantine is not None:
        yield f"It is in quarantine and must not be used: {record.quarantine.reason}"
    if record.gates.verdict != "passed":
        yield f"Its gates: {record.gates.verdict}{f', {w}' if (w := record.gates.why) else ''}"
    yield from _of_data(record)
    yield from _of_groups(record, gaps)
    yield from _of_nights(record)
    if record.security is None:
        yield "No security assessment of it is on record"


def _of_data(record: Record) -> Iterator[str]:
    data = record.data
    if data is None:
        yield "Its training data is not on record: what it covers is not known"
        return
    if data.first_time and data.last_time:
        yield (
            f"It knows rows from {data.first_time[:10]} to {data.last_time[:10]}, and nothing of "
            "what came before or since"
        )
    else:
        yield "When its rows were observed is not on record: how old they are cannot be told"
    if data.holdout_rows < _SMALL:
        yield f"It was measured on {data.holdout_rows:,} rows only: mind the intervals"
    for name, count in (data.class_counts or {}).items():
        if count < _RARE * data.rows:
            yield (
                f"{data.target} {name} is rare: {count:,} of {data.rows:,} rows "
                f"({count / data.rows:.1%})"
            )


def _of_groups(record: Record, gaps: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    data = record.data
    if data is not None and not data.segments:
        yield "No segments are declared: whether it serves some groups worse was not looked at"
        return
    few = [f"{e.segment} = {e.value} ({e.rows})" for e in record.slices or () if not e.metrics]
    if few:
        yield f"Groups with too few rows to be measured: {_some(few)}"
    alike: dict[tuple[str, bool, str], list[str]] = {}
    for gap in gaps or ():
        left_out = _some([f"{value} has {rows}" for value, rows in gap["left_out"].items()])
        if gap["value"] is None or left_out:
            name = gap["gap"].removesuffix("_difference").replace("_", " ")
            alike.setdefault((gap["segment"], gap["value"] is None, left_out), []).append(name)
    for (segment, unknown, left_out), names in alike.items():
        what = f"gaps between groups of {segment} in {_some(names)}"
        counted = f" ({left_out} of the {MIN_ROWS} rows that count)" if left_out else ""
        if unknown:
            yield f"Not measured, for too few rows: {what}{counted}"
        else:
            yield f"Measured without the smallest groups: {what}{counted}"


def _of_nights(record: Record) -> Iterator[str]:
    nights = record.nights
    if nights is None:
        yield "It has not been looked at in production"
        return
    for judged in ("performance", "drift"):
        unknown = [n for n in nights.recent if n.verdicts.get(judged) == "insufficient_data"]
        if unknown:
            yield (
                f"On {len(unknown)} of the last {len(nights.recent)} nights there were too few "
                f"rows to judge {judged}"
            )


def _some(names: Sequence[str]) -> str:
    more = len(names) - 6
    return ", ".join(names[:6]) + (f" and {more} more" if more > 0 else "")
