"""Everything behind a version: data, code, environment, metrics, gates, moves, nights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, StoreError
from mlops_pipelines.explain import record_schema as schema
from mlops_pipelines.explain.books import Books, Entry
from mlops_pipelines.explain.changes import Behind, holdout_metrics, in_short
from mlops_pipelines.explain.gates import gates
from mlops_pipelines.explain.moves import moves
from mlops_pipelines.explain.nights import summary
from mlops_pipelines.explain.sources import Sources, document, read_behind
from mlops_pipelines.release.evaluation_record import EVALUATION
from mlops_pipelines.release.security.report import FILE as SECURITY
from mlops_pipelines.store import Store
from mlops_pipelines.train.expectations_record import EXPECTATIONS
from mlops_pipelines.train.facts import RECORD

_COST = ("training_seconds", "cpu_seconds", "peak_memory_mb")
_EARLIER = "it was not yet written down when this version was {}"


@dataclass
class _Missing:
    """The parts that are not known, and why."""

    why: dict[str, str] = field(default_factory=dict)

    def note(self, part: str, why: str) -> None:
        self.why[part] = why


def lineage(sources: Sources, model: str, version: int, main: str) -> schema.Record:
    """The record of `version`, whose nights are judged by the metric `main`.

    A part that was not recorded is None, and `missing` says why. Raises NotFoundError where there
    is no such version, TrackingError, MlopsError.
    """
    entry = sources.books.version(model, version)
    tags, missing = entry.tags, _Missing()
    behind = read_behind(sources, entry)
    evaluation = document(sources.books, entry, EVALUATION)
    if evaluation is None:
        why = _EARLIER.format("evaluated") if record.GATES in tags else "it was not evaluated yet"
        for part in ("comparison", "slices", "metrics: intervals"):
            missing.note(part, why)
    return schema.Record(
        model=model,
        version=version,
        task=tags.get(record.TASK, ""),
        created=entry.created.isoformat(timespec="seconds"),
        aliases=list(entry.aliases),
        runs=schema.Runs(mlflow=entry.run_id, dagster=tags.get(record.DAGSTER_RUN) or None),
        data=_data(sources.store, behind, missing),
        expectations=_expectations(sources, entry, missing),
        code=schema.Code(
            commit=tags.get(record.GIT_COMMIT, ""), dirty=tags.get(record.GIT_DIRTY) or None
        ),
        environment=_environment(behind, missing),
        params=dict(sorted(entry.params.items())),
        seeds=_seeds(entry, evaluation),
        metrics=_metrics(entry, evaluation or {}),
        cost={
            name: entry.metrics[f"system/{name}"]
            for name in _COST
            if f"system/{name}" in entry.metrics
        },
        comparison=_comparison(evaluation or {}, missing),
        slices=None if evaluation is None else [_slice(each) for each in evaluation["slices"]],
        parent=_parent(sources, behind, missing),
        gates=gates(entry, evaluation or {}, sources.events.gates(model, version)),
        security=_security(sources.books, entry, missing),
        bundle=_bundle(sources.store, entry, missing),
        image=_tag(entry, record.IMAGE, "image", "no image was built of it", missing),
        hashes=schema.Hashes(
            record=_tag(entry, RECORD, "hashes.record", "it was never sealed", missing),
            bill_of_materials=_tag(
                entry, record.BOM, "hashes.bill_of_materials", "it has none", missing
            ),
        ),
        moves=moves(sources.events.deployments(model)).get(version, []),
        quarantine=_quarantine(tags),
        nights=_nights(sources.books, entry, main, missing),
        missing=missing.why,
    )


def _data(store: Store, behind: Behind, missing: _Missing) -> schema.Data | None:
    found = behind.snapshot
    if not found:
        missing.note("data", "its snapshot is neither in the store nor in MLflow")
        return None
    return schema.Data(
        snapshot=found["digest"],
        uri=store.uri(found["key"]),
        source=found["source"],
        rows=found["rows"],
        train_rows=found["train_rows"],
        holdout_rows=found["holdout_rows"],
        columns=[
            schema.Column(name=each["name"], type=each["type"], nullable=each["nullable"])
            for each in found["columns"]
        ],
        target=found["target"],
        event_time=found["event_time"],
        first_time=found["first_time"],
        last_time=found["last_time"],
        class_counts=found["class_counts"],
        segments=list(found["segments"]),
    )


def _expectations(sources: Sources, entry: Entry, missing: _Missing) -> schema.Expectations | None:
    kept = document(sources.books, entry, EXPECTATIONS)
    if kept is not None:
        return schema.Expectations(**{k: v for k, v in kept.items() if k != "schema"})
    check = sources.events.expectations(entry.model, entry.created)
    if check is None:
        missing.note("expectations", "no check of the training data is in Dagster's event log")
        return None
    missing.note("expectations.results", _EARLIER.format("trained"))
    return schema.Expectations(
        origin=str(check.metadata.get("suite", "")),
        passed=check.passed,
        rows=None,
        says=check.says,
        at=check.at,
        results=[],
    )


def _environment(behind: Behind, missing: _Missing) -> schema.Environment:
    tags, found = behind.entry.tags, behind.environment
    if not found:
        for part in ("platform", "machine", "packages"):
            missing.note(f"environment.{part}", _EARLIER.format("trained"))
    return schema.Environment(
        lock_hash=tags.get(record.LOCK_HASH, ""),
        python=tags.get(record.PYTHON, ""),
        platform=found.get("platform"),
        machine=found.get("machine"),
        packages=found.get("packages"),
    )


def _seeds(entry: Entry, evaluation: Mapping[str, Any] | None) -> dict[str, str]:
    found = {
        name: value
        for name, value in sorted(entry.params.items())
        if name.endswith(("random_state", "seed"))
    }
    return found | ({"bootstrap": str(evaluation["seed"])} if evaluation else {})


def _metrics(entry: Entry, evaluation: Mapping[str, Any]) -> list[schema.Metric]:
    intervals = evaluation.get("intervals", {})
    said = {name: value for name, value in entry.metrics.items() if value == value}
    return [
        schema.Metric(
            name=name,
            value=said[name],
            low=intervals.get(name, {}).get("low"),
            high=intervals.get(name, {}).get("high"),
            train=said.get(f"train_{name}"),
            cross_validation=said.get(f"cv_{name}_mean"),
            deviation=said.get(f"cv_{name}_std"),
        )
        for name in holdout_metrics(entry)
        if name in said
    ]


def _comparison(evaluation: Mapping[str, Any], missing: _Missing) -> schema.Comparison | None:
    if not evaluation:
        return None
    if evaluation["champion"] is None:
        missing.note("comparison", "there was no champion to compare with")
        return None
    return schema.Comparison(
        champion=evaluation["champion"],
        metrics=evaluation["champion_metrics"] or {},
        differences=[schema.Difference(**each) for each in evaluation["differences"]],
    )


def _slice(said: Mapping[str, Any]) -> schema.Slice:
    difference = said["difference"]
    return schema.Slice(
        segment=said["segment"],
        value=said["value"],
        rows=said["rows"],
        metrics=said["metrics"],
        difference=None if difference is None else schema.Difference(**difference),
    )


def _parent(sources: Sources, behind: Behind, missing: _Missing) -> schema.Parent | None:
    number = behind.entry.tags.get(record.PARENT_VERSION, "")
    if not number:
        missing.note("parent", "no version served when it was trained")
        return None
    try:
        entry = sources.books.version(behind.entry.model, int(number))
    except NotFoundError:
        missing.note("parent.changed", f"version {number} is gone from MLflow")
        return schema.Parent(version=int(number), changed=[])
    changed = in_short(read_behind(sources, entry), behind)
    return schema.Parent(version=int(number), changed=changed)


def _security(books: Books, entry: Entry, missing: _Missing) -> schema.Security | None:
    found = document(books, entry, SECURITY)
    if found is None:
        missing.note("security", "no security assessment was kept of it")
        return None
    counts: dict[str, int] = {}
    for each in found["findings"]:
        counts[each["severity"]] = counts.get(each["severity"], 0) + 1
    return schema.Security(secure=found["secure"], findings=counts)


def _bundle(store: Store, entry: Entry, missing: _Missing) -> schema.Bundle | None:
    from mlops_pipelines.release.bundle import bundle_key
    from mlops_pipelines.serve.verify import SIGNATURE

    digest = _tag(entry, record.BUNDLE, "bundle", "none was built of it", missing)
    if digest is None:
        return None
    key = bundle_key(entry.model, digest)
    files: int | None = None
    signed: bool | None = None
    runtime: Mapping[str, Any] = {}
    try:
        files = len(store.read_json(f"{key}/manifest.json")["files"])
        signed = store.exists(f"{key}/{SIGNATURE}")
        runtime = store.read_json(f"{key}/bundle.json").get("runtime") or {}
        if not runtime:
            missing.note("bundle.runtime", _EARLIER.format("built"))
    except (NotFoundError, StoreError, KeyError):
        missing.note("bundle.files", "the bundle is not in the store, or cannot be read")
    return schema.Bundle(
        digest=digest,
        uri=store.uri(key),
        files=files,
        signed=signed,
        runtime=runtime.get("name"),
        runtime_reason=runtime.get("reason"),
    )


def _tag(entry: Entry, tag: str, part: str, why: str, missing: _Missing) -> str | None:
    value = entry.tags.get(tag) or None
    if value is None:
        missing.note(part, why)
    return value


def _quarantine(tags: Mapping[str, str]) -> schema.Quarantine | None:
    reason = tags.get(record.QUARANTINED)
    if reason is None:
        return None
    return schema.Quarantine(at=tags.get(record.QUARANTINED_AT), reason=reason)


def _nights(books: Books, entry: Entry, main: str, missing: _Missing) -> schema.Nights | None:
    found = summary(books, entry.model, entry.version, main)
    if found is None:
        missing.note("nights", "it was not evaluated on any night yet")
    elif found.alarms is None:
        missing.note("nights.alarms", "verdicts were not kept in MLflow when they were reached")
    return found
