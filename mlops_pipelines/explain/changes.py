"""What is different between two versions, as far as the books alone tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_pipelines import record
from mlops_pipelines.explain.books import Entry

MOST_NAMED = 6


@dataclass(frozen=True)
class Behind:
    """A version with the documents that were kept of it; empty where one was not."""

    entry: Entry
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Changed:
    """A value of the older and of the newer version; None where it is absent."""

    name: str
    before: Any
    after: Any


def parameters(old: Behind, new: Behind) -> list[Changed]:
    """The parameters that differ, by name."""
    return _differing(old.entry.params, new.entry.params)


def packages(old: Mapping[str, str], new: Mapping[str, str]) -> list[Changed]:
    """The packages that were added, removed or are of another version, by name."""
    return _differing(old, new)


def columns(old: Behind, new: Behind) -> list[Changed]:
    """The features that were added, removed or are of another type, by name."""
    return _differing(_types(old.snapshot), _types(new.snapshot))


def metrics(old: Behind, new: Behind) -> list[Changed]:
    """The metrics on each one's own holdout, where both have them."""
    before, after = holdout_metrics(old.entry), holdout_metrics(new.entry)
    return [Changed(name, before[name], after[name]) for name in before if name in after]


def holdout_metrics(entry: Entry) -> dict[str, float]:
    """The metrics on the holdout: not those of folds, of training rows or of the machine."""
    return {
        name: value
        for name, value in sorted(entry.metrics.items())
        if "/" not in name
        and not name.startswith(("train_", "cv_"))
        # Curves of the fit are metrics to MLflow as well.
        and f"train_{name}" in entry.metrics
    }


def in_short(old: Behind, new: Behind) -> list[str]:
    """A line for each kind of thing that is different; none where nothing is."""
    lines = [
        _line("parameters", parameters(old, new)),
        _data(old, new),
        _code(old.entry, new.entry),
        _environment(old, new),
        _metrics(old, new),
    ]
    return [line for line in lines if line]


def _data(old: Behind, new: Behind) -> str:
    before, after = (each.entry.tags.get(record.SNAPSHOT, "") for each in (old, new))
    if before == after:
        return ""
    said = [f"snapshot {before[:12]} → {after[:12]}"]
    if old.snapshot and new.snapshot:
        rows = Changed("rows", old.snapshot["rows"], new.snapshot["rows"])
        said += [_told(rows)] if rows.before != rows.after else [f"{rows.after} rows as before"]
        changed = columns(old, new)
        said += [f"columns {_list(changed)}"] if changed else []
    return f"data: {', '.join(said)}"


def _code(old: Entry, new: Entry) -> str:
    before, after = (_commit(each.tags) for each in (old, new))
    return "" if before == after else f"code: {before} → {after}"


def _environment(old: Behind, new: Behind) -> str:
    tags = old.entry.tags, new.entry.tags
    said = []
    for name, key, length in (("Python", record.PYTHON, 20), ("lock", record.LOCK_HASH, 12)):
        before, after = (each.get(key, "")[:length] for each in tags)
        said += [f"{name} {before} → {after}"] if before != after else []
    changed = packages(old.environment.get("packages") or {}, new.environment.get("packages") or {})
    if changed and old.environment and new.environment:
        said.append(f"packages {_list(changed)}")
    return f"environment: {', '.join(said)}" if said else ""


def _metrics(old: Behind, new: Behind) -> str:
    told = [_told(each) for each in metrics(old, new) if each.before != each.after]
    return f"metrics: {', '.join(told)}" if told else ""


def _line(kind: str, changed: list[Changed]) -> str:
    return f"{kind}: {_list(changed)}" if changed else ""


def _list(changed: list[Changed]) -> str:
    named = ", ".join(_told(each) for each in changed[:MOST_NAMED])
    more = len(changed) - MOST_NAMED
    return f"{named}, and {more} more" if more > 0 else named


def _told(each: Changed) -> str:
    if each.before is None:
        return f"{each.name} {_shown(each.after)} (new)"
    if each.after is None:
        return f"{each.name} (gone)"
    return f"{each.name} {_shown(each.before)} → {_shown(each.after)}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _commit(tags: Mapping[str, str]) -> str:
    commit, dirty = tags.get(record.GIT_COMMIT, ""), tags.get(record.GIT_DIRTY, "")
    # A sentence (there is no repository) stays whole.
    name = commit if " " in commit else commit[:12]
    return f"{name} with uncommitted changes {dirty[:8]}" if dirty else name


def _types(snapshot: Mapping[str, Any]) -> dict[str, str]:
    return {
        each["name"]: each["type"] + (" or null" if each["nullable"] else "")
        for each in snapshot.get("columns", ())
    }


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Changed]:
    return [
        Changed(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
