"""What `mlops diff` prints for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlops_pipelines.explain.changes import Changed
from mlops_pipelines.explain.diff import Diff, MetricChange
from mlops_pipelines.explain.same_rows import SameRows

MOST = 20


def diff_text(found: Diff) -> str:
    """Two versions side by side, a line for each thing that differs."""
    lines = [f"{found.model}: version {found.before} → version {found.after}"]
    for name, told in _parts(found):
        shown = told[:MOST] + ([f"and {len(told) - MOST} more"] if len(told) > MOST else [])
        lines += [f"  {name if not place else '':<12} {line}" for place, line in enumerate(shown)]
    return "\n".join(lines)


def _parts(found: Diff) -> Iterator[tuple[str, list[str]]]:
    yield "parameters", _changes(found.parameters)
    yield "data", _changes(found.data) or ["the same snapshot"]
    yield "columns", _changes(found.columns)
    yield "drift", [f"{each.column}: {each.what}" for each in found.drift or ()]
    yield "code", _code(found)
    yield "environment", _changes(found.environment) or ["the same"]
    if found.packages:
        yield "packages", [f"({found.packages_of})", *_changes(found.packages)]
    yield "metrics", [_metric(each) for each in found.metrics]
    if found.predictions is not None:
        yield "predictions", _same_rows(found.predictions, found.before, found.after)
    yield "not known", [f"{part}: {why}" for part, why in found.missing.items()]


def _changes(changed: list[Changed]) -> list[str]:
    return [f"{each.name}: {_value(each.before)} → {_value(each.after)}" for each in changed]


def _value(value: Any) -> str:
    if value is None:
        return "–"
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _code(found: Diff) -> list[str]:
    if found.commits is None:
        return ["the same commit"]
    return [f"{found.commits.before} → {found.commits.after}", *(found.files or ())]


def _metric(each: MetricChange) -> str:
    before, after = (
        f"{value:.4g}" + (f" ({known[0]:.4g} to {known[1]:.4g})" if known else "")
        for value, known in (
            (each.before, each.before_interval),
            (each.after, each.after_interval),
        )
    )
    return f"{each.name}: {before} → {after}"


def _same_rows(found: SameRows, before: int, after: int) -> list[str]:
    lines = [
        f"on the {found.rows} holdout rows of version {found.holdout_of}: {found.differing} "
        f"({100 * found.share:.3g} %) are answered differently"
    ]
    if found.score_difference_max is not None:
        lines.append(
            f"scores differ by {found.score_difference_mean:.3g} on average, "
            f"{found.score_difference_max:.3g} at most"
        )
    if found.improvement == found.low == found.high == 0:
        lines.append(f"{found.metric} {found.after:.4g} of both, in every resample")
    elif found.improvement is not None:
        better = "better" if found.improvement >= 0 else "worse"
        lines.append(
            f"{found.metric} {found.before:.4g} → {found.after:.4g}: version {after} is "
            f"{abs(found.improvement):.4g} {better} than version {before} "
            f"(95 % interval of the improvement {found.low:+.4g} to {found.high:+.4g})"
        )
    return lines
