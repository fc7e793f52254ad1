"""A model card as a page: one file that asks for nothing else, for screens and for paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mlops_pipelines.explain.card import Card
from mlops_pipelines.explain.markup import STYLE, code, count, facts, number, state, table
from mlops_pipelines.explain.night_picture import picture
from mlops_pipelines.explain.record_schema import Metric
from mlops_pipelines.measure.fairness import MIN_ROWS

_MOST_ROWS = 40
_RECENT = 10

_STYLE = """
*{box-sizing:border-box}h1,p{overflow-wrap:anywhere}h3{font-size:.95rem;margin:1rem 0 .2rem}
p,ul{max-width:46rem}.lead{font-size:1.1rem}.status{margin-bottom:.25rem}.wide{overflow-x:auto}
.wide td:first-child{min-width:9rem}svg{display:block}
@media print{.wide{overflow:visible}h3{break-after:avoid}}
@media (max-width:600px){body{margin:1rem auto;padding:0 .9rem}table.facts th{width:6.5rem}}
"""

_NAMES = {
    "demographic_parity_difference": "how often it says yes (demographic parity)",
    "equal_opportunity_difference": "true positive rate (equal opportunity)",
    "false_positive_rate_difference": "false positive rate",
    "equalized_odds_difference": "the larger of both rates' gaps (equalized odds)",
    "mean_error_difference": "mean error, predicted less true",
}


def card_page(found: Card) -> str:
    """The page of a card, a few dozen kB at most."""
    title = f"{found.record.model} version {found.record.version}: model card"
    parts = [
        *_head(found),
        *_details(found),
        *_intended(found),
        *_metrics(found),
        *_groups(found),
        *_since(found),
        *_data(found),
        *_risks(found),
        *_limits(found),
        *_provenance(found),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _head(found: Card) -> Iterator[str]:
    record, spec = found.record, found.spec
    yield f"<h1>{escape(record.model)} <span class=quiet>version {record.version}</span></h1>"
    yield f"<p class=lead>{escape(spec.description)}</p>" if spec.description else ""
    yield f"<p>{''.join(_states(found))}</p>"
    main = next((each for each in record.metrics if each.name == spec.main_metric), None)
    if main is not None:
        rows = f" on {record.data.holdout_rows:,} rows it has not seen" if record.data else ""
        yield f"<p>{escape(_told(main))}{rows}.</p>"


def _states(found: Card) -> Iterator[str]:
    record = found.record
    for alias in record.aliases:
        yield state("good" if alias == "champion" else "plain", alias)
    kinds = {"passed": "good", "refused": "bad"}
    yield state(kinds.get(record.gates.verdict, "plain"), f"gates {record.gates.verdict}")
    if record.quarantine is not None:
        yield state("bad", "in quarantine")
    if record.security is not None:
        secure = record.security.secure
        yield state("good" if secure else "bad", "secure" if secure else "not secure")
    if record.bundle is not None and record.bundle.signed is not None:
        signed = record.bundle.signed
        yield state("good" if signed else "plain", "signed" if signed else "not signed")


def _details(found: Card) -> list[str]:
    record, spec = found.record, found.spec
    contact = spec.card.contact or ", ".join(spec.owners)
    parent = "none served when it was trained"
    if record.parent is not None:
        changed = "; ".join(record.parent.changed[:4])
        parent = f"version {record.parent.version}{f' ({changed})' if changed else ''}"
    return [
        "<h2>Model details</h2>",
        facts(
            ("task", escape(record.task.replace("_", " "))),
            ("estimator", f"<code>{escape(record.params.get('estimator', ''))}</code>"),
            ("trained", escape(record.created[:10])),
            ("came after", escape(parent)),
            ("owners", escape(", ".join(spec.owners))),
            ("contact", escape(contact)),
        ),
    ]


def _intended(found: Card) -> list[str]:
    said = found.spec.card.intended_use
    text = escape(said) if said else "<span class=quiet>Not declared (card.intended_use).</span>"
    return ["<h2>Intended use</h2>", f"<p>{text}</p>"]


def _metrics(found: Card) -> list[str]:
    record = found.record
    rows = [
        [
            f"<b>{escape(each.name)}</b>"
            if each.name == found.spec.main_metric
            else escape(each.name),
            number(each.value),
            _between(each.low, each.high),
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
        _table(("metric", "value", "95 % interval", "training rows"), rows, numbers=(1, 2, 3)),
        f"<h3>Gates</h3><ul>{gates}</ul>" if gates else "",
    ]


def _groups(found: Card) -> list[str]:
    """Quantitative analyses: by group, and the gaps between them."""
    record = found.record
    if not record.slices:
        return []
    main = found.spec.main_metric
    names = [m.name for m in record.metrics if m.name != main][:4]
    shown = record.slices[:_MOST_ROWS]
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
        _table(head, rows, numbers=range(1, len(head))),
        f"<p class=quiet>And {more:,} more groups.</p>" if more else "",
        *_gaps(found),
    ]


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
                _between(gap["low"], gap["high"]),
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
        _table([head[i] for i in kept], rows, numbers=numbers),
    ]


def _since(found: Card) -> list[str]:
    nights = found.record.nights
    if nights is None:
        return ["<h2>In production</h2>", "<p>It has not been looked at in production.</p>"]
    main = nights.metric
    said = [f"{nights.count:,} nights, {nights.first} to {nights.last}."]
    alarms = {name: n for name, n in (nights.alarms or {}).items() if n}
    if alarms:
        said.append(f"Alarms: {', '.join(f'{name} {n}' for name, n in alarms.items())}.")
    elif nights.alarms is not None:
        said.append("No alarm.")
    if nights.worst is not None:
        said.append(f"Worst {nights.worst.day}: {main} {nights.worst.metrics[main]:.4g}.")
    if nights.most_drift is not None:
        columns = nights.most_drift.metrics["drift_columns"]
        said.append(f"Most drift {nights.most_drift.day}: {columns:.0f} columns.")
    rows = [
        [
            escape(night.day),
            number(night.metrics.get(main)),
            _between(night.metrics.get(f"{main}_low"), night.metrics.get(f"{main}_high")),
            count(night.metrics.get("labelled")),
            count(night.metrics.get("drift_columns")),
            escape(_verdicts(night.verdicts)),
        ]
        for night in reversed(nights.recent[-_RECENT:])
    ]
    head = ("night", main, "95 % interval", "labelled", "drifted columns", "verdict")
    return [
        "<h2>In production</h2>",
        f"<p>{escape(' '.join(said))}</p>",
        picture(nights.recent, main, nights.baseline),
        _table(head, rows, numbers=range(1, 5)),
    ]


def _verdicts(verdicts: Mapping[str, str]) -> str:
    """What was not in order; nothing where all was."""
    told = [f"{name}: {v.replace('_', ' ')}" for name, v in verdicts.items() if v != "ok"]
    return ", ".join(told) or ("ok" if verdicts else "")


def _data(found: Card) -> list[str]:
    data = found.record.data
    if data is None:
        return []
    span = ""
    if data.first_time and data.last_time:
        span = f"{data.first_time[:10]} to {data.last_time[:10]} (by {data.event_time})"
    classes = ", ".join(f"{name}: {n:,}" for name, n in (data.class_counts or {}).items())
    columns = ", ".join(each.name for each in data.columns[:_MOST_ROWS])
    more = len(data.columns) - _MOST_ROWS
    return [
        "<h2>Training and evaluation data</h2>",
        facts(
            ("source", escape(data.source)),
            (
                "rows",
                f"{data.rows:,}: {data.train_rows:,} to learn from, "
                f"{data.holdout_rows:,} to be measured on",
            ),
            ("time span", escape(span)),
            ("target", escape(data.target) + (f" ({escape(classes)})" if classes else "")),
            ("groups by", escape(", ".join(data.segments))),
            (
                "columns",
                f"{len(data.columns)}: {escape(columns)}{f' and {more} more' if more > 0 else ''}",
            ),
        ),
    ]


def _risks(found: Card) -> list[str]:
    """Ethical considerations, as far as they can be measured: security and privacy."""
    report = found.security
    head = "<h2>Security and privacy</h2>"
    if report is None:
        return [head, "<p>No security assessment of it is on record.</p>"]
    findings: Sequence[Mapping[str, Any]] = report["findings"]
    rows = [
        [
            f"<span class={'bad' if each['blocks'] else 'plain'}>{escape(each['severity'])}</span>",
            escape(each["kind"]),
            escape(each["evidence"]),
            escape(f"accepted: {each['accepted']}" if each["accepted"] else each["remedy"]),
        ]
        for each in findings
    ]
    measured = [
        [
            escape(each["meaning"]),
            number(each["value"]),
            _between(each["low"], each["high"]),
            f"{each['n']:,}",
        ]
        for each in report.get("measures", ())
    ]
    return [
        head,
        _table(("severity", "finding", "where", "what to do"), rows)
        if rows
        else "<p>Nothing was found.</p>",
        _table(("measured", "value", "95 % interval", "rows"), measured, numbers=(1, 2, 3))
        if measured
        else "",
    ]


def _limits(found: Card) -> list[str]:
    lines = "".join(f"<li>{escape(each)}.</li>" for each in found.limits)
    return ["<h2>Limits</h2>", f"<ul>{lines}</ul>"]


def _provenance(found: Card) -> list[str]:
    record = found.record
    dirty = ", with uncommitted changes" if record.code.dirty else ""
    bundle = ""
    if record.bundle is not None:
        words = {True: ", signed", False: ", not signed: hashes only"}
        signed = "" if record.bundle.signed is None else words[record.bundle.signed]
        bundle = f"{code(record.bundle.digest)}{signed}"
    return [
        "<h2>Provenance</h2>",
        facts(
            ("snapshot", code(record.data.snapshot if record.data else "")),
            ("commit", code(record.code.commit) + dirty),
            ("lock file", code(record.environment.lock_hash)),
            ("Python", escape(record.environment.python)),
            ("bundle", bundle),
            ("image", code(record.image or "")),
            ("record", code(record.hashes.record or "")),
            ("materials", code(record.hashes.bill_of_materials or "")),
            ("MLflow run", code(record.runs.mlflow)),
        ),
        f"<p class=quiet>Written from the record: mlops lineage {escape(record.model)} "
        f"{record.version} shows all of it, --verify recomputes the hashes, and mlops reproduce "
        f"{escape(record.model)} {record.version} trains it again.</p>",
    ]


def _told(main: Metric) -> str:
    interval = _between(main.low, main.high)
    return f"{main.name} {main.value:.4g}{f' (95 % interval {interval})' if interval else ''}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3g} to {high:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table that is scrolled by itself where the screen is narrow."""
    return f"<div class=wide>{table(head, rows, numbers)}</div>"
