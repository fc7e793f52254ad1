"""The record of a version as a page: one file that asks for nothing else, readable on paper."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape

from mlops_pipelines.explain.data_facts import data_facts
from mlops_pipelines.explain.markup import (
    code,
    count,
    facts,
    number,
    page,
    pairs,
    state,
    table,
    time,
    wide,
)
from mlops_pipelines.explain.night_picture import picture, told
from mlops_pipelines.explain.record_schema import Difference, Night, Record
from mlops_pipelines.explain.text import moved, unknown

MOST_NIGHTS = 31


def record_page(found: Record) -> str:
    """The page of a version's record; the record itself is in it, as JSON."""
    title = f"{found.model} version {found.version}"
    record = json.dumps(found.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=quiet>{escape(found.task.replace('_', ' '))}, registered "
        f"{time(found.created)} UTC</p>",
        f"<p>{''.join(_states(found))}</p>",
        *_moves(found),
        *_metrics(found),
        *_slices(found),
        *_gates(found),
        *_nights(found),
        *_data(found),
        *_expectations(found),
        *_made_of(found),
        *_unknown(found),
    ]
    # `<` would end the script in the middle of a text.
    script = record.replace("<", "\\u003c")
    return page(title, parts, end=f'<script type="application/json" id="record">{script}</script>')


def _states(found: Record) -> Iterable[str]:
    for alias in found.aliases:
        yield state("good" if alias == "champion" else "plain", alias)
    kind = {"passed": "good", "refused": "bad"}.get(found.gates.verdict, "plain")
    yield state(kind, f"gates: {found.gates.verdict}")
    if found.quarantine is not None:
        yield state("bad", "in quarantine")
    if found.security is not None:
        counts = ", ".join(f"{n} {severity}" for severity, n in found.security.findings.items())
        kind = "good" if found.security.secure else "bad"
        yield state(kind, f"security: {counts or 'nothing found'}")
    if found.nights is not None and found.nights.alarms:
        alarms = ", ".join(f"{n} {on}" for on, n in found.nights.alarms.items())
        yield state("bad", f"alarms: {alarms}")


def _moves(found: Record) -> list[str]:
    rows = [[time(each.at), escape(moved(each))] for each in found.moves]
    if found.quarantine is not None:
        at = time(found.quarantine.at) if found.quarantine.at else ""
        rows.append([at, f"quarantined: {escape(found.quarantine.reason)}"])
    if not rows:
        return ["<h2>Traffic</h2><p>It has never served.</p>"]
    return ["<h2>Traffic</h2>", table(("when", "what"), rows)]


def _metrics(found: Record) -> list[str]:
    champion = found.comparison.metrics if found.comparison else {}
    head = ["holdout", "value", "95 % interval", "training rows", "cross-validation"]
    if found.comparison is not None:
        head.append(f"version {found.comparison.champion}, same rows")
    rows = []
    for each in found.metrics:
        known = each.low is not None and each.high is not None
        spread = f" ± {each.deviation:.2g}" if each.deviation is not None else ""
        row = [
            escape(each.name),
            f"<b>{each.value:.4g}</b>",
            f"{each.low:.4g} to {each.high:.4g}" if known else "",
            number(each.train),
            number(each.cross_validation) + spread,
        ]
        rows.append(row + ([number(champion.get(each.name))] if found.comparison else []))
    said = [_against(each) for each in (found.comparison.differences if found.comparison else ())]
    cost = {
        "training_seconds": "{:.3g} s",
        "cpu_seconds": "{:.3g} s of CPU",
        "peak_memory_mb": "{:.0f} MiB at most",
    }
    spent = [text.format(found.cost[name]) for name, text in cost.items() if name in found.cost]
    return [
        "<h2>Metrics</h2>",
        wide(head, rows, numbers=range(1, len(head))),
        *(f"<p>{each}.</p>" for each in said),
        f"<p class=quiet>Training took {', '.join(spent)}.</p>" if spent else "",
    ]


def _against(each: Difference) -> str:
    name = escape(each.metric)
    if each.improvement == each.low == each.high == 0:
        return f"{name} is the champion's, in every resample of {each.rows:,} rows"
    return (
        f"{name} is {abs(each.improvement):.4g} {'better' if each.improvement >= 0 else 'worse'} "
        f"than the champion's (95 % interval of the improvement {each.low:+.4g} to "
        f"{each.high:+.4g}, {each.rows:,} rows)"
    )


def _slices(found: Record) -> list[str]:
    if not found.slices:
        return []
    names = list(dict.fromkeys(name for each in found.slices for name in each.metrics or ()))
    rows = [
        [
            escape(f"{each.segment} = {each.value}"),
            f"{each.rows:,}",
            *(
                [number(each.metrics.get(name)) for name in names]
                if each.metrics
                else ["too few", *[""] * (len(names) - 1)]
            ),
        ]
        for each in found.slices
    ]
    head = ("slice", "rows", *names)
    return ["<h2>Slices</h2>", wide(head, rows, numbers=range(1, len(head)))]


def _gates(found: Record) -> list[str]:
    if not found.gates.results:
        return []
    words = {
        (True, True): ("good", "passed"),
        (True, False): ("good", "passed"),
        (False, True): ("bad", "refused"),
        (False, False): ("plain", "warned"),
    }
    rows = [
        [
            '<span class="{}">{}</span>'.format(*words[each.passed, each.blocking]),
            escape(each.gate),
            escape(each.says),
            time(each.at) if each.at else "",
        ]
        for each in found.gates.results
    ]
    return ["<h2>Gates</h2>", table(("", "gate", "why", "when"), rows)]


def _nights(found: Record) -> list[str]:
    nights = found.nights
    if nights is None:
        return []
    main = nights.metric
    shown = nights.recent[-MOST_NIGHTS:]
    head = ("night", main, "95 % interval", "labelled", "drifted columns", "requests", "errors")
    return [
        "<h2>Since then</h2>",
        f"<p>{escape(told(nights))}</p>",
        picture(shown, main, nights.baseline),
        wide(head, [_night(each, main) for each in reversed(shown)], numbers=range(1, 7)),
    ]


def _night(night: Night, main: str) -> list[str]:
    values = night.metrics
    low, high = values.get(f"{main}_low"), values.get(f"{main}_high")
    bad = [name for name, verdict in night.verdicts.items() if verdict == "alarm"]
    alarm = f' <span class="bad">alarm: {escape(", ".join(bad))}</span>' if bad else ""
    return [
        escape(night.day) + alarm,
        number(values.get(main)),
        f"{low:.4g} to {high:.4g}" if low is not None and high is not None else "",
        *(count(values.get(name)) for name in ("labelled", "drift_columns", "requests", "errors")),
    ]


def _data(found: Record) -> list[str]:
    data = found.data
    if data is None:
        return []
    columns = "".join(
        f"<div>{escape(each.name)} <span class=quiet>{escape(each.type)}"
        f"{' or null' if each.nullable else ''}</span></div>"
        for each in data.columns
    )
    return [
        "<h2>Data</h2>",
        facts(
            ("snapshot", code(data.snapshot)),
            *data_facts(data),
            ("lies at", code(data.uri)),
        ),
        f"<p>{len(data.columns)} columns:</p><div class=columns>{columns}</div>",
    ]


def _expectations(found: Record) -> list[str]:
    expected = found.expectations
    if expected is None:
        return []
    failed = [each for each in expected.results if each.holds is not True]
    rows = [
        [escape(each.column or "the table"), escape(each.expectation), escape(each.found)]
        for each in failed
    ]
    return [
        "<h2>Expectations</h2>",
        f"<p>{escape(expected.says)} <span class=quiet>({escape(expected.origin)})</span></p>",
        table(("column", "did not hold", "found"), rows) if rows else "",
    ]


def _made_of(found: Record) -> list[str]:
    place, bundle = found.environment, found.bundle
    dirty = f", with uncommitted changes {code(found.code.dirty)}" if found.code.dirty else ""
    parent = "none: no version served when it was trained"
    if found.parent is not None:
        lines = "".join(f"<li>{escape(line)}</li>" for line in found.parent.changed)
        changed = f"<ul>{lines}</ul>" if lines else " (nothing that is on record has changed)"
        parent = f"version {found.parent.version}{changed}"
    packages = f"{len(place.packages):,} distributions" if place.packages else ""
    runtime = ""
    if bundle is not None and bundle.runtime is not None:
        why = f" <span class=quiet>({escape(bundle.runtime_reason or '')})</span>"
        runtime = escape(bundle.runtime) + (why if bundle.runtime_reason else "")
    signed = {True: "signed", False: "not signed"}.get(bundle.signed) if bundle else None  # type: ignore[arg-type]
    return [
        "<h2>Made of</h2>",
        facts(
            ("parent", parent),
            ("commit", code(found.code.commit) + dirty),
            ("Python", escape(place.python)),
            ("platform", escape(place.platform or "")),
            ("lock file", code(place.lock_hash)),
            ("installed", packages),
            ("parameters", pairs(found.params)),
            ("seeds", pairs(found.seeds)),
            ("MLflow run", code(found.runs.mlflow)),
            ("Dagster run", code(found.runs.dagster or "")),
            (
                "bundle",
                f"{code(bundle.digest)}{f', {signed}' if signed else ''}" if bundle else "",
            ),
            ("runtime", runtime),
            ("image", code(found.image or "")),
            ("record", code(found.hashes.record or "")),
            ("bill of materials", code(found.hashes.bill_of_materials or "")),
        ),
    ]


def _unknown(found: Record) -> list[str]:
    told = unknown(found)
    if not told:
        return []
    lines = "".join(
        f"<li>{escape(', '.join(names))}: {escape(why)}</li>" for why, names in told.items()
    )
    return [f"<h2>Not on record</h2><ul>{lines}</ul>"]
