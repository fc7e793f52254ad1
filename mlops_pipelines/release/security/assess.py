"""The whole assessment of one version, detector by detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from mlops_pipelines.errors import DataError, ReleaseError
from mlops_pipelines.release.security.attack import under_attack
from mlops_pipelines.release.security.case import Answers, Case
from mlops_pipelines.release.security.contents import harmful_contents, read_about
from mlops_pipelines.release.security.leakage import leaks
from mlops_pipelines.release.security.packages import packages
from mlops_pipelines.release.security.personal import personal_data
from mlops_pipelines.release.security.privacy import membership, twins
from mlops_pipelines.release.security.report import Finding, SecurityReport, Seen
from mlops_pipelines.release.security.robustness import under_noise
from mlops_pipelines.serve.predictor import BundleError, ModelError
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.snapshot import Snapshot, SnapshotRows

During = Callable[[str], AbstractContextManager[Any]]
"""Is entered with the name of each detector while it is at work."""


def assess(
    bundle: Path,
    spec: ModelSpec,
    snapshot: Snapshot,
    rows: SnapshotRows,
    open_model: Callable[[], Answers],
    *,
    params: Mapping[str, str] | None = None,
    advisories: Path | None = None,
    seed: int = 0,
    during: During = nullcontext,
) -> SecurityReport:
    """Look at the bundle in this folder, at the rows behind it, and at how its model answers.

    The files are looked at before the model is opened; it is not where one of them is altered or
    would run code, and what needs its answers is then left out. `params` are those of its training,
    `advisories` where known vulnerabilities are listed. Raises ReleaseError where the folder is no
    bundle, or where there are no such advisories.
    """
    from threadpoolctl import threadpool_limits

    with during("files"):
        said, _ = read_about(bundle)
        seen = [Seen(list(harmful_contents(bundle, params or {})))]
    with during("packages"):
        lock = bundle / "requirements.lock"
        seen.append(packages(lock, str(said.get("python", "")), advisories))
    with during("personal data"):
        looked = dict.fromkeys([*(column.name for column in snapshot.columns), *snapshot.segments])
        seen.append(Seen(list(personal_data(rows.all, list(looked)))))
    # The model is asked for a few rows many times: threads would wait for each other.
    with threadpool_limits(1):
        for name, look in _looks(spec, snapshot, rows, open_model, seed, _harmless(seen[0])):
            with during(name):
                seen.append(_seen(name, look))
    return SecurityReport.of(seen, spec.security)


def _looks(
    spec: ModelSpec,
    snapshot: Snapshot,
    rows: SnapshotRows,
    open_model: Callable[[], Answers],
    seed: int,
    harmless: bool,
) -> Iterator[tuple[str, Callable[[], Seen]]]:
    case = Case(snapshot, rows.train, rows.holdout, spec.main_metric, spec.main_drop, seed)
    yield "leakage", partial(leaks, case)
    yield "twins", partial(twins, case)
    if not harmless:
        return
    opened: list[Answers] = []

    def asked(look: Callable[[Case, Answers], Seen]) -> Seen:
        if not opened:
            opened.append(open_model())
        return look(case, opened[0])

    yield "membership", partial(asked, membership)
    yield "noise", partial(asked, under_noise)
    yield "attack", partial(asked, under_attack)


def _harmless(files: Seen) -> bool:
    return all(finding.kind == "secret" for finding in files.findings)


def _seen(name: str, look: Callable[[], Seen]) -> Seen:
    try:
        return look()
    except (BundleError, DataError, ModelError, ReleaseError) as error:
        finding = Finding(
            "medium",
            "not assessed",
            f"{name}: {type(error).__name__}: {error}",
            "mend what the model answers to rows of this kind, or accept that it is not known",
        )
        return Seen([finding])
