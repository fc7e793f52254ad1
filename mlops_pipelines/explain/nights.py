"""How a version has done, night by night: its worst, its alarms, its last month."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlops_pipelines.explain import record_schema as schema
from mlops_pipelines.explain.books import Books, Night

RECENT = 31
SMALLER_IS_BETTER = ("log_loss", "brier", "calibration_error", "mae", "rmse")

_FIND = ("drift_columns", "drift_distance_max")
_OF_EVERY_NIGHT = (
    "labelled",
    "drift_rows",
    "drift_columns",
    "drift_distance_max",
    "rows",
    "requests",
    "errors",
    "error_rate",
    "latency_p95_ms",
    "previous_improvement",
)


def summary(books: Books, model: str, version: int, main: str) -> schema.Nights | None:
    """All nights of a version in short; None where there were none.

    Of every night only what finds the worst is read, the rest of those that are told.
    """
    nights = books.nights(model, (main, *_FIND), version)
    if not nights:
        return None
    bad, far, recent = worst(nights, main), _most_drift(nights), nights[-RECENT:]
    shown = {each.run_id for each in (bad, far, *recent) if each is not None}
    names = (main, *(f"{main}_{end}" for end in ("low", "high", "baseline")), *_OF_EVERY_NIGHT)
    measured = books.measured(sorted(shown), names)

    def told(night: Night) -> schema.Night:
        return _told(replace(night, metrics=measured[night.run_id]))

    baselines = [measured[night.run_id].get(f"{main}_baseline") for night in recent]
    return schema.Nights(
        count=len(nights),
        first=nights[0].day,
        last=nights[-1].day,
        metric=main,
        baseline=next((each for each in reversed(baselines) if each is not None), None),
        worst=told(bad) if bad else None,
        most_drift=told(far) if far else None,
        alarms=_alarms(nights),
        recent=[told(night) for night in recent],
    )


def sentences(nights: schema.Nights) -> list[str]:
    """How many nights there were, and what was worst about them; without full stops."""
    last = f" to {nights.last}" if nights.last != nights.first else ""
    said = [f"{nights.count:,} night{'s' if nights.count > 1 else ''}, {nights.first}{last}"]
    if nights.worst is not None:
        value = nights.worst.metrics[nights.metric]
        before = "" if nights.baseline is None else f", {nights.baseline:.4g} on the holdout"
        said.append(f"worst {nights.worst.day}: {nights.metric} {value:.4g}{before}")
    if nights.most_drift is not None:
        columns = nights.most_drift.metrics["drift_columns"]
        plural = "s" if columns > 1 else ""
        said.append(f"most drift {nights.most_drift.day}: {columns:.0f} column{plural}")
    alarms = [f"{n} {on}" for on, n in (nights.alarms or {}).items() if n]
    if alarms:
        said.append(f"alarms: {', '.join(alarms)}")
    elif nights.alarms is not None:
        said.append("no alarm")
    return said


def worst(nights: Sequence[Night], main: str) -> Night | None:
    """The night on which the main metric was worst; None where no labels were in yet."""
    sign = -1.0 if main in SMALLER_IS_BETTER else 1.0
    judged = [night for night in nights if _finite(night.metrics, main)]
    return min(judged, key=lambda night: sign * night.metrics[main], default=None)


def _most_drift(nights: Sequence[Night]) -> Night | None:
    seen = [night for night in nights if night.metrics.get("drift_columns", 0) > 0]
    return max(seen, key=lambda night: night.metrics.get("drift_distance_max", 0), default=None)


def _alarms(nights: Sequence[Night]) -> dict[str, int] | None:
    if not any(night.verdicts for night in nights):
        return None
    counted = Counter(
        judged
        for night in nights
        for judged, verdict in night.verdicts.items()
        if verdict == "alarm"
    )
    return dict(sorted(counted.items()))


def _told(night: Night) -> schema.Night:
    return schema.Night(
        day=night.day,
        run=night.run_id,
        verdicts=dict(night.verdicts),
        metrics={n: night.metrics[n] for n in sorted(night.metrics) if _finite(night.metrics, n)},
    )


def _finite(metrics: Mapping[str, float], name: str) -> bool:
    return abs(metrics.get(name, float("inf"))) < float("inf")
