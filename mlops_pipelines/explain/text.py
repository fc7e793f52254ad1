"""What `mlops lineage` prints for people."""

from __future__ import annotations

from mlops_pipelines.explain.nights import sentences
from mlops_pipelines.explain.record_schema import (
    Expectations,
    Gate,
    Metric,
    Moved,
    Proof,
    Record,
)


def lineage_text(found: Record) -> str:
    """Everything behind a version, a line for each thing; what is missing is said at the end."""
    aliases = f" ({', '.join(found.aliases)})" if found.aliases else ""
    lines = [f"{found.model} version {found.version}{aliases}, registered {found.created}"]
    lines += [_line(*each) for each in _parts(found) if each[1]]
    lines += [
        _line("proof", f"{each.thing} {each.recorded[:16]}: {_seen(each)}")
        for each in found.proofs or ()
    ]
    return "\n".join(lines)


def interval(metric: Metric) -> str:
    """A metric with its interval, where it has one."""
    value = f"{metric.value:.4g}"
    if metric.low is None or metric.high is None:
        return value
    return f"{value} ({metric.low:.4g} to {metric.high:.4g})"


def moved(move: Moved) -> str:
    """What happened to the traffic, by whom and why."""
    other = "another" if move.other is None else f"version {move.other}"
    told = {
        "deployed": "deployed" + (f" in place of {other}" if move.other else ""),
        "replaced": f"replaced by {other}",
        "rolled back to": f"rolled back to this one from {other}",
        "rolled back from": f"rolled back from this one to {other}",
        "unchanged": "deployed again, as it was",
    }
    return f"{told[move.what]} by {move.actor}: {move.reason}"


def unknown(found: Record) -> dict[str, list[str]]:
    """The parts that are missing, by the reason why."""
    by_reason: dict[str, list[str]] = {}
    for part, why in found.missing.items():
        by_reason.setdefault(why, []).append(part)
    return by_reason


def commit(name: str) -> str:
    """A commit's short name; a sentence (there is no repository) stays whole."""
    return name if " " in name else name[:12]


def _parts(found: Record) -> list[tuple[str, str]]:
    code, place = found.code, found.environment
    dirty = f", with uncommitted changes {code.dirty}" if code.dirty else ""
    platform = f", {place.platform}" if place.platform else ""
    parent = "none: no version served when it was trained"
    if found.parent is not None:
        parent = f"version {found.parent.version}"
    gates = f"{found.gates.verdict}{': ' if found.gates.why else ''}{found.gates.why}"
    parts = [("parent", parent)]
    parts += [("", f"  {line}") for line in (found.parent.changed if found.parent else ())]
    parts += [
        ("data", _data(found)),
        ("expected", _expected(found.expectations)),
        ("code", commit(code.commit) + dirty),
        ("environment", f"lock {place.lock_hash[:16]}, Python {place.python}{platform}"),
        ("runs", f"MLflow {found.runs.mlflow}, Dagster {found.runs.dagster or 'none'}"),
        ("parameters", ", ".join(f"{name}={value}" for name, value in found.params.items())),
        ("seeds", ", ".join(f"{name}={value}" for name, value in found.seeds.items())),
        ("metrics", ", ".join(f"{each.name} {interval(each)}" for each in found.metrics)),
        ("gates", gates),
    ]
    parts += [("", f"  {_gate(each)}") for each in found.gates.results]
    parts += [
        ("bundle", _bundle(found)),
        ("image", (found.image or "")[:23]),
        ("nights", "; ".join(sentences(found.nights)) if found.nights else ""),
    ]
    parts += [("moved", f"{each.at} {moved(each)}") for each in found.moves]
    if found.quarantine is not None:
        parts.append(("quarantined", found.quarantine.reason))
    parts += [("not known", f"{', '.join(names)}: {why}") for why, names in unknown(found).items()]
    return parts


def _line(name: str, said: str) -> str:
    return f"  {name:<12} {said}"


def _data(found: Record) -> str:
    data = found.data
    if data is None:
        return ""
    span = f", {data.first_time} to {data.last_time}" if data.first_time else ""
    return (
        f"snapshot {data.snapshot[:16]}, {data.rows} rows ({data.train_rows} train, "
        f"{data.holdout_rows} holdout){span}, {len(data.columns)} features, from {data.source}"
    )


def _expected(found: Expectations | None) -> str:
    return "" if found is None else f"{found.says} ({found.origin})"


def _gate(gate: Gate) -> str:
    word = "passed" if gate.passed else ("FAILED" if gate.blocking else "warned")
    return f"{word}  {gate.gate}: {gate.says}"


def _bundle(found: Record) -> str:
    bundle = found.bundle
    if bundle is None:
        return ""
    signed = {True: ", signed", False: ", not signed", None: ""}[bundle.signed]
    runtime = f", {bundle.runtime}" if bundle.runtime else ""
    return f"{bundle.digest[:16]}{runtime}{signed}"


def _seen(proof: Proof) -> str:
    return "holds" if proof.holds else f"found {proof.found[:60]}"
