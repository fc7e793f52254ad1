"""What was measured of a version, as its model card shows it: metrics, groups, gaps, nights."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from mlops_pipelines.explain import night_picture
from mlops_pipelines.explain.card import Card
from mlops_pipelines.explain.markup import count, number, wide
from mlops_pipelines.explain.record_schema import Metric
from mlops_pipelines.measure.fairness import MIN_ROWS

_MOST_GROUPS = 40
_RECENT = 10

_NAMES = {
    "demographic_parity_difference": "how often it says yes (demographic parity)",
    "equal_opportunity_difference": "true positive rate (equal opportunity)",
    "false_positive_rate_difference": "false positive rate",
    "equalized_odds_difference": "the larger of both rates' gaps (equalized odds)",
    "mean_error_difference": "mean error, predicted less true",
}


def metrics(found: Card) -> list[str]:
    """Every metric on the holdout, and the gates."""
    record = found.record
    rows = [
        [
            f"<b>{escape(each.name)}</b>"
            if each.name == found.spec.main_metric
            else escape(each.name),
            number(each.value),
            between(each.low, each.high),
            number(each.train),
        ]
        for each in sorted(record.metrics, key=lambda each: each.name != found.spec.main_metric)
    ]
    gates = "".join(
        f"<li><span class={'good' if each.passed else 'bad'}>"
        f"{'passed' if each.passed else 'not passed'}</span> {escape(each.gate)}: "
        f"{escape(each.says)}</li>"
        for each in record.gates.results
    )
    rows_said = ""
    if record.data is not None:
        how = (
            f"the latest by {escape(record.data.event_time)}"
            if record.data.event_time
            else "drawn by a hash of their content"
        )
        rows_said = (
            f"<p>Measured on {record.data.holdout_rows:,} rows that were kept out of training, "
            f"{how}. Intervals are of 95 %, by bootstrap over these rows.</p>"
        )
    return [
        "<h2>Metrics</h2>",
        rows_said,
        wide(("metric", "value", "95 % interval", "training rows"), rows, numbers=(1, 2, 3)),
        f"<h3>Gates</h3><ul>{gates}</ul>" if gates else "",
    ]


def groups(found: Card) -> list[str]:
    """Quantitative analyses: by group, and the gaps between them."""
    record = found.record
    if not record.slices:
        return []
    main = found.spec.main_metric
    names = [m.name for m in record.metrics if m.name != main][:4]
    shown = record.slices[:_MOST_GROUPS]
    rows = [
        [
            escape(f"{each.segment} = {each.value}"),
            f"{each.rows:,}",
            *(
                [number(each.metrics.get(name)) for name in (main, *names)]
                if each.metrics
                else ["too few", *[""] * len(names)]
            ),
        ]
        for each in shown
    ]
    more = len(record.slices) - len(shown)
    head = ("group", "rows", main, *names)
    return [
        "<h2>Groups and fairness</h2>",
        wide(head, rows, numbers=range(1, len(head))),
        f"<p class=quiet>And {more:,} more groups.</p>" if more else "",
        *_gaps(found),
    ]


def in_production(found: Card) -> list[str]:
    """What the nights have seen since."""
    nights = found.record.nights
    if nights is None:
        return ["<h2>In production</h2>", "<p>It has not been looked at in production.</p>"]
    main = nights.metric
    rows = [
        [
            escape(night.day),
            number(night.metrics.get(main)),
            between(night.metrics.get(f"{main}_low"), night.metrics.get(f"{main}_high")),
            count(night.metrics.get("labelled")),
            count(night.metrics.get("drift_columns")),
            escape(_verdicts(night.verdicts)),
        ]
        for night in reversed(nights.recent[-_RECENT:])
    ]
    head = ("night", main, "95 % interval", "labelled", "drifted columns", "verdict")
    return [
        "<h2>In production</h2>",
        f"<p>{escape(night_picture.told(nights))}</p>",
        night_picture.picture(nights.recent, main, nights.baseline),
        wide(head, rows, numbers=range(1, 5)),
    ]


def told(main: Metric) -> str:
    """A metric with its interval, in a few words."""
    interval = between(main.low, main.high)
    return f"{main.name} {main.value:.4g}{f' (95 % interval {interval})' if interval else ''}"


def between(low: float | None, high: float | None) -> str:
    """An interval; nothing where it is not known."""
    return "" if low is None or high is None else f"{low:.3g} to {high:.3g}"


def _gaps(found: Card) -> list[str]:
    if found.gaps is None:
        return ["<p class=quiet>Gaps between groups were not measured when it was evaluated.</p>"]
    bounds = {(g.segment, g.fairness): g.at_most for g in found.spec.fairness_gates}
    rows = []
    for gap in found.gaps:
        name = _NAMES.get(gap["gap"], gap["gap"].removesuffix("_difference").replace("_", " "))
        bound = bounds.get((gap["segment"], gap["gap"]))
        beyond = bound is not None and gap["value"] is not None and gap["value"] > bound
        value = number(gap["value"]) or "too few rows"
        pair = " and ".join(gap["between"]) if gap["between"] else ""
        since = found.watched.get((gap["segment"], gap["gap"]))
        rows.append(
            [
                escape(f"{gap['segment']}: {name}"),
                f"<span class=bad>{value}</span>" if beyond else value,
                between(gap["low"], gap["high"]),
                "" if bound is None else f"{bound:g}",
                escape(pair),
                "" if since is None else f"{number(since.value)} ({escape(since.day)})",
            ]
        )
    head = ["gap in", "value", "95 % interval", "at most", "widest between", "last night"]
    # What says nothing of any row takes no room.
    kept = [i for i in range(len(head)) if i < 3 or any(row[i] for row in rows)]
    rows = [[row[i] for i in kept] for row in rows]
    numbers = [at for at, i in enumerate(kept) if i in (1, 2, 3, 5)]
    return [
        "<h3>Gaps between groups</h3>",
        "<p>The widest difference between two groups. The intervals hold for all pairs at "
        f"once; groups with fewer than {MIN_ROWS} rows that count are left out.</p>",
        wide([head[i] for i in kept], rows, numbers=numbers),
    ]


def _verdicts(verdicts: Mapping[str, str]) -> str:
    """What was not in order; nothing where all was."""
    told = [f"{name}: {v.replace('_', ' ')}" for name, v in verdicts.items() if v != "ok"]
    return ", ".join(told) or ("ok" if verdicts else "")
