"""The requests that a model failed on: counted by kind, shown one by one, answered again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.explain.replay import ask_bundle, columns_of, last_line
from mlops_pipelines.serve.segments import ErrorRow, read_segments
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

ROWS_AT_ONCE = 1000
MODEL_FAILED = 3
"""The exit code of a bundle's server where its model failed on the rows that it was asked."""

_TYPES = {bool: "boolean", int: "long", float: "double", str: "string", type(None): "null"}


@dataclass(frozen=True)
class Kind:
    """Failures that went the same way; times are RFC 3339 in UTC.

    `count` is exact unless `at_least`: beyond what a worker keeps, it tells its count now and then.
    """

    kind: str
    digest: str
    count: int
    at_least: bool
    first: str
    last: str
    versions: tuple[int, ...]
    example: str


@dataclass(frozen=True)
class Failed:
    """One request that the model failed on, with those of its rows that are kept.

    `rows` are in the order of `columns`; none where only the count was kept.
    """

    error_id: str
    request_id: str
    trace_id: str | None
    version: int
    bundle: str
    failed_at: str
    kind: str
    digest: str
    frames: tuple[str, ...]
    request_rows: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def types(self) -> dict[str, str]:
        """Each feature with the types that its values have."""
        return {
            name: ", ".join(dict.fromkeys(_TYPES.get(type(row[i]), "other") for row in self.rows))
            for i, name in enumerate(self.columns)
        }


@dataclass(frozen=True)
class Again:
    """What a version's bundle makes of the kept rows now.

    `digest` is None where it answers, and where a bundle from before there were digests fails.
    """

    version: int
    outcome: Literal["fails the same way", "fails otherwise", "answers now"]
    kind: str | None
    digest: str | None
    frames: tuple[str, ...]


def kinds(
    log_dir: Path, version: int | None = None, kind: str | None = None, since: str = ""
) -> list[Kind]:
    """The failures of a model by kind and digest, the most frequent first.

    `since` is a day (YYYY-MM-DD, UTC). Only failures of that version and kind, where these are
    given.
    """
    found: dict[tuple[str, str], list[tuple[ErrorRow, int, int]]] = {}
    for row, of_version, times in _counted(log_dir):
        if row.failed_at >= since and version in (None, of_version) and kind in (None, row.kind):
            found.setdefault((row.kind, row.digest), []).append((row, of_version, times))
    told = []
    for (of_kind, digest), failures in found.items():
        failures.sort(key=lambda failure: failure[0].failed_at)
        rows = [row for row, _, _ in failures]
        kept = [row.error_id for row in rows if row.features is not None]
        told.append(
            Kind(
                kind=of_kind,
                digest=digest,
                count=sum(times for _, _, times in failures),
                at_least=len(kept) < len(rows),
                first=rows[0].failed_at,
                last=rows[-1].failed_at,
                versions=tuple(sorted({each for _, each, _ in failures})),
                example=(kept or [rows[-1].error_id])[-1],
            )
        )
    return sorted(told, key=lambda each: (-each.count, each.kind, each.digest))


def failed(log_dir: Path, model: str, error_id: str) -> Failed:
    """The kept request of this error id; raises NotFoundError."""
    for segment in read_segments(log_dir, "errors"):
        rows = [row for row in segment.rows if row.error_id == error_id]
        if rows:
            first = rows[0]
            return Failed(
                error_id=error_id,
                request_id=first.request_id,
                trace_id=first.trace_id,
                version=segment.header["model_version"],
                bundle=segment.header["bundle"],
                failed_at=first.failed_at,
                kind=first.kind,
                digest=first.digest,
                frames=tuple(first.frames),
                request_rows=first.request_rows,
                columns=tuple(segment.header["columns"]),
                rows=tuple(tuple(row.features) for row in rows if row.features is not None),
            )
    raise NotFoundError(
        f"{model} keeps no error {error_id}; `mlops errors {model}` lists those of each kind. Of "
        "many alike not all are kept"
    )


def ask_again(
    registry: Registry, store: Store, model: str, of: Failed, version: int | None = None
) -> Again:
    """Have the rows answered again, by the bundle that failed or by that of another version.

    Raises NotFoundError where no rows were kept, or the version is not known; ReleaseError where
    it takes other columns, or its bundle cannot be asked.
    """
    from mlops_pipelines.release.bundle import bundle_of

    version = version or of.version
    if not of.rows:
        raise NotFoundError(
            f"{model}: of error {of.error_id} only the count is kept; name another of its kind"
        )
    bundle = bundle_of(registry, store, model, version)
    names = columns_of(bundle)
    missing = [name for name in names if name not in of.columns]
    if missing:
        raise ReleaseError(
            f"{model} version {version} takes columns that version {of.version} did not: "
            f"{', '.join(missing[:5])}; the rows cannot be answered by it"
        )
    at = [of.columns.index(name) for name in names]
    done = ask_bundle(bundle, [[row[i] for i in at] for row in of.rows])
    if done.returncode == 0:
        return Again(version, "answers now", None, None, ())
    failure = _failure(done.returncode, done.stdout, done.stderr)
    if failure is None:
        raise ReleaseError(
            f"{model} version {version} cannot be asked again: {last_line(done.stderr)}"
        )
    kind, digest, frames = failure
    same = kind == of.kind and digest in (None, of.digest)
    return Again(
        version, "fails the same way" if same else "fails otherwise", kind, digest, tuple(frames)
    )


def _failure(code: int, output: str, errors: str) -> tuple[str, str | None, Sequence[str]] | None:
    """How the model failed, as its server tells; None where it was not the model that did."""
    if code == MODEL_FAILED:
        told = json.loads(output)["failed"]
        return told["kind"], told["digest"], told["frames"]
    # A server from before it told more says only the type of the exception.
    only = re.fullmatch(r"mlops_pipelines\.serve: (\w+)", last_line(errors))
    return (only[1], None, ()) if only else None


def _counted(log_dir: Path) -> Iterator[tuple[ErrorRow, int, int]]:
    """One row of each kept failure, its version, and how many failures it stands for.

    A worker numbers its failures of one digest. A number that does not grow is another worker's
    of the same name: in a container each has process id 1.
    """
    last: dict[tuple[str, str], tuple[str, int]] = {}
    for segment in read_segments(log_dir, "errors", ROWS_AT_ONCE):
        version = segment.header["model_version"]
        for row in segment.rows:
            counter = f"{version} {segment.header.get('instance')}", row.digest
            error_id, number = last.get(counter, ("", 0))
            if row.error_id == error_id:
                continue
            last[counter] = row.error_id, row.failures
            grown = row.failures - number
            yield row, version, grown if grown > 0 else row.failures
