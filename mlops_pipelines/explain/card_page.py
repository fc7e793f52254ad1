"""A model card as a page: one file that asks for nothing else, for screens and for paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mlops_pipelines.explain.card import Card
from mlops_pipelines.explain.card_figures import between, groups, in_production, metrics, told
from mlops_pipelines.explain.data_facts import data_facts
from mlops_pipelines.explain.markup import code, facts, number, page, state, wide

_MOST_COLUMNS = 40

_STYLE = """
*{box-sizing:border-box}h1,p{overflow-wrap:anywhere}h3{font-size:.95rem;margin:1rem 0 .2rem}
p,ul{max-width:46rem}.lead{font-size:1.1rem}.status{margin-bottom:.25rem}
.wide td:first-child{min-width:9rem}
@media print{h3{break-after:avoid}}
@media (max-width:600px){body{margin:1rem auto;padding:0 .9rem}table.facts th{width:6.5rem}}
"""


def card_page(found: Card) -> str:
    """The page of a card, a few dozen kB at most."""
    title = f"{found.record.model} version {found.record.version}: model card"
    parts = [
        *_head(found),
        *_details(found),
        *_intended(found),
        *metrics(found),
        *groups(found),
        *in_production(found),
        *_data(found),
        *_risks(found),
        *_limits(found),
        *_provenance(found),
    ]
    return page(title, parts, _STYLE)


def _head(found: Card) -> Iterator[str]:
    record, spec = found.record, found.spec
    yield f"<h1>{escape(record.model)} <span class=quiet>version {record.version}</span></h1>"
    yield f"<p class=lead>{escape(spec.description)}</p>" if spec.description else ""
    yield f"<p>{''.join(_states(found))}</p>"
    main = next((each for each in record.metrics if each.name == spec.main_metric), None)
    if main is not None:
        rows = f" on {record.data.holdout_rows:,} rows it has not seen" if record.data else ""
        yield f"<p>{escape(told(main))}{rows}.</p>"


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


def _data(found: Card) -> list[str]:
    data = found.record.data
    if data is None:
        return []
    columns = ", ".join(each.name for each in data.columns[:_MOST_COLUMNS])
    more = len(data.columns) - _MOST_COLUMNS
    return [
        "<h2>Training and evaluation data</h2>",
        facts(
            *data_facts(data),
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
            between(each["low"], each["high"]),
            f"{each['n']:,}",
        ]
        for each in report.get("measures", ())
    ]
    return [
        head,
        wide(("severity", "finding", "where", "what to do"), rows)
        if rows
        else "<p>Nothing was found.</p>",
        wide(("measured", "value", "95 % interval", "rows"), measured, numbers=(1, 2, 3))
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
