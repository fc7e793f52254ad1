"""What is different between two versions: data, code, environment, metrics and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import MlopsError
from mlops_pipelines.explain import changes
from mlops_pipelines.explain.changes import Behind, Changed
from mlops_pipelines.explain.commits import changed_files
from mlops_pipelines.explain.same_rows import SameRows, compare
from mlops_pipelines.explain.sources import Sources, document, read_behind
from mlops_pipelines.release.evaluation_record import EVALUATION
from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from mlops_pipelines.measure.evidence import ColumnDrift
    from mlops_pipelines.train.registry import Registry

_COUNTS = ("rows", "train_rows", "holdout_rows", "source", "first_time", "last_time")


@dataclass(frozen=True)
class MetricChange:
    """A metric of each version on its own holdout; an interval is (low, high), where known."""

    name: str
    before: float
    after: float
    before_interval: tuple[float, float] | None
    after_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Diff:
    """Two versions side by side; lists hold only what differs.

    `drift` is of the columns both have, the older's training rows against the newer's; `files`
    are git's lines. What could not be compared is None, and `missing` says why.
    """

    model: str
    before: int
    after: int
    parameters: list[Changed]
    data: list[Changed]
    columns: list[Changed]
    drift: list[ColumnDrift] | None
    commits: Changed | None
    files: tuple[str, ...] | None
    environment: list[Changed]
    packages: list[Changed] | None
    packages_of: str
    metrics: list[MetricChange]
    predictions: SameRows | None
    missing: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON value."""
        share = {} if self.predictions is None else {"share": self.predictions.share}
        found = asdict(self)
        if self.predictions is not None:
            found["predictions"] |= share
        return {"schema": 1, **found}


def diff(
    sources: Sources, registry: Registry, root: Path, spec: ModelSpec, before: int, after: int
) -> Diff:
    """What is different between the versions `before` and `after` of a model.

    Raises NotFoundError where one of them is not there, TrackingError.
    """
    old, new = (
        read_behind(sources, sources.books.version(spec.name, version))
        for version in (before, after)
    )
    missing: dict[str, str] = {}
    packages_of, packages = _packages(sources, old, new, missing)
    return Diff(
        model=spec.name,
        before=before,
        after=after,
        parameters=changes.parameters(old, new),
        data=_data(old, new),
        columns=changes.columns(old, new),
        drift=_or_none("drift", missing, lambda: _drift(sources, spec, old, new)),
        commits=_commits(old, new),
        files=_files(root, old, new, missing),
        environment=_environment(old, new),
        packages=packages,
        packages_of=packages_of,
        metrics=_metrics(sources, old, new),
        predictions=_or_none(
            "predictions", missing, lambda: _predictions(sources, registry, spec, old, new)
        ),
        missing=missing,
    )


def _or_none(part: str, missing: dict[str, str], compute: Any) -> Any:
    try:
        return compute()
    except MlopsError as error:
        missing[part] = str(error)
        return None


def _data(old: Behind, new: Behind) -> list[Changed]:
    tags = [each.entry.tags.get(record.SNAPSHOT, "") for each in (old, new)]
    listed = [Changed("snapshot", *tags)]
    listed += [Changed(n, old.snapshot.get(n), new.snapshot.get(n)) for n in _COUNTS]
    return [each for each in listed if each.before != each.after]


def _drift(sources: Sources, spec: ModelSpec, old: Behind, new: Behind) -> list[ColumnDrift] | None:
    """How far the newer's training rows are from the profile of the older's, by column."""
    from mlops_pipelines.measure.drift import drift_verdict
    from mlops_pipelines.measure.profile import Profile, profile_like, reference_profile
    from mlops_pipelines.train.snapshot import load_snapshot, profile_columns, read_rows

    digests = [each.entry.tags.get(record.SNAPSHOT, "") for each in (old, new)]
    if digests[0] == digests[1]:
        return []
    before, after = (load_snapshot(sources.store, spec.name, each) for each in digests)
    both = {column.name for column in after.columns}
    shared = tuple(column for column in profile_columns(before) if column.name in both)
    reference: Profile = reference_profile(read_rows(sources.store, before).train, shared)
    window = profile_like(read_rows(sources.store, after).train, reference)
    verdict = drift_verdict(
        reference, window, false_alarms_per_year=spec.monitor.false_alarms_per_year
    )
    return [each for each in verdict.columns if each.drifted]


def _commits(old: Behind, new: Behind) -> Changed | None:
    def named(each: Behind) -> str:
        tags = each.entry.tags
        dirty = tags.get(record.GIT_DIRTY, "")
        commit = tags.get(record.GIT_COMMIT, "")
        return f"{commit} with uncommitted changes {dirty}" if dirty else commit

    changed = Changed("commit", named(old), named(new))
    return None if changed.before == changed.after else changed


def _files(root: Path, old: Behind, new: Behind, missing: dict[str, str]) -> tuple[str, ...] | None:
    before, after = (each.entry.tags.get(record.GIT_COMMIT, "") for each in (old, new))
    if before == after:
        return ()
    found = changed_files(root, before, after)
    if found is None:
        missing["files"] = "one of the commits is not in this repository"
    return found


def _environment(old: Behind, new: Behind) -> list[Changed]:
    tags = (old.entry.tags, new.entry.tags)
    listed = [
        Changed(name, *(each.get(key) or None for each in tags))
        for name, key in (("python", record.PYTHON), ("lock_hash", record.LOCK_HASH))
    ]
    if old.environment and new.environment:
        listed += [
            Changed(name, old.environment.get(name), new.environment.get(name))
            for name in ("platform", "machine")
        ]
    return [each for each in listed if each.before != each.after]


def _packages(
    sources: Sources, old: Behind, new: Behind, missing: dict[str, str]
) -> tuple[str, list[Changed] | None]:
    """What was compared, and the packages that differ."""
    if old.environment and new.environment:
        installed = (each.environment["packages"] for each in (old, new))
        return "installed at the training", changes.packages(*installed)
    try:
        locked = [_locked(sources, each) for each in (old, new)]
    except (MlopsError, OSError) as error:
        missing["packages"] = str(error)
        return "", None
    return "in the lock files of the bundles", changes.packages(*locked)


def _locked(sources: Sources, behind: Behind) -> Mapping[str, str]:
    from mlops_pipelines.release.bundle import bundle_key
    from mlops_pipelines.release.lock import canonical, pin, requirements

    key = bundle_key(behind.entry.model, behind.entry.tags.get(record.BUNDLE, ""))
    text = sources.store.read_bytes(f"{key}/requirements.lock").decode()
    found = {}
    for name, lines in requirements(text):
        release, marker, _ = pin(lines)
        # One package may be pinned twice, under different markers.
        named = f"{canonical(name)} ({marker})" if marker else canonical(name)
        found[named] = release or "not pinned"
    return found


def _metrics(sources: Sources, old: Behind, new: Behind) -> list[MetricChange]:
    intervals = [
        (document(sources.books, each.entry, EVALUATION) or {}).get("intervals", {})
        for each in (old, new)
    ]

    def known(place: int, name: str) -> tuple[float, float] | None:
        found = intervals[place].get(name)
        return None if found is None else (found["low"], found["high"])

    return [
        MetricChange(each.name, each.before, each.after, known(0, each.name), known(1, each.name))
        for each in changes.metrics(old, new)
    ]


def _predictions(
    sources: Sources, registry: Registry, spec: ModelSpec, old: Behind, new: Behind
) -> SameRows:
    newer = max((old, new), key=lambda each: each.entry.version)
    return compare(
        registry,
        sources.store,
        spec,
        old.entry.version,
        new.entry.version,
        newer.entry.tags.get(record.SNAPSHOT, ""),
    )
