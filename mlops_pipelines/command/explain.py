"""`mlops status`, `lineage`, `diff`, `history`, `find` and `replay`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_pipelines.command.shared import json_option, say, workbench
from mlops_pipelines.errors import NotFoundError, ReleaseError, StoreError

if TYPE_CHECKING:
    from mlops_pipelines.explain.find import Found
    from mlops_pipelines.explain.proof import Proof
    from mlops_pipelines.explain.record_schema import Record
    from mlops_pipelines.explain.sources import Sources
    from mlops_pipelines.workbench import Workbench


@click.command(epilog="Example: mlops status")
@click.argument("model", required=False)
@json_option
def status(model: str | None, as_json: bool) -> None:
    """Say what serves, since when, and how it does."""
    from mlops_pipelines.explain.status import status as state_of

    bench = workbench()
    names = [bench.project.model(model).spec.name] if model else sorted(bench.project.models)
    found = [state_of(bench.registry, bench.target, name) for name in names]
    for broken in bench.project.broken if not model else ():
        for mistake in broken.mistakes:
            click.echo(f"not loaded: {mistake}", err=True)
    say(found, as_json, lambda: "\n".join(_status_line(each) for each in found))
    sys.exit(0 if all(each["books"] == "ok" for each in found) else 1)


def _status_line(found: dict[str, Any]) -> str:
    if found["books"] != "ok":
        serves = f"version {found['serving']} serves" if found["serving"] else "nothing serves"
        return f"{found['model']}: {serves} at {found['address']}: {found['books']}"
    if found["champion"] is None:
        return f"{found['model']}: no version serves yet (mlops train {found['model']})"
    if found["serving"] is None:
        return (
            f"{found['model']}: version {found['champion']} is champion, but nothing answers "
            f"(mlops serve {found['model']})"
        )
    serves = (
        f"{found['model']}: version {found['serving']} serves at {found['address']} with "
        f"{found['replicas']} worker(s)"
    )
    if found["serving"] != found["champion"]:
        return (
            f"{serves}, though version {found['champion']} was deployed: scale_services, or "
            f"mlops serve {found['model']}, makes the books agree"
        )
    others = [
        f"version {version} takes {share} % of the traffic"
        for version, share in found["shares"].items()
        if version != str(found["serving"])
    ]
    if found["standby"] is not None:
        others.append(f"version {found['standby']} is kept warm")
    since = f"since {found['deployed_at']}, by {found['deployed_by']}"
    return "; ".join([f"{serves} {since}", *others])


@click.command(epilog="Example: mlops lineage breast_cancer 3 --page record.html")
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--verify", "prove", is_flag=True, help="Recompute the recorded hashes.")
@click.option(
    "--page", type=click.Path(path_type=Path, dir_okay=False), help="Write it as an HTML page."
)
@json_option
def lineage(model: str, version: int | None, prove: bool, page: Path | None, as_json: bool) -> None:
    """Print everything behind a version of MODEL. Default: the version that serves."""
    from mlops_pipelines.explain.books import newest
    from mlops_pipelines.explain.lineage import lineage as behind
    from mlops_pipelines.explain.text import lineage_text

    bench = workbench()
    spec, sources = bench.project.model(model).spec, _sources(bench)
    version = version or newest(sources.books, model)
    found = behind(sources, model, version, spec.main_metric)
    proofs: Sequence[Proof] = ()
    if prove:
        from mlops_pipelines.explain.verify import verify
        from mlops_pipelines.serve.verify import HASHES_ONLY, VERIFY_KEY

        store = bench.project.store
        proofs = verify(bench.registry, store, bench.project.root, model, version)
        found = found.with_proofs(proofs)
        if not os.environ.get(VERIFY_KEY):
            click.echo(f"signatures were not checked, {HASHES_ONLY}", err=True)
    if page is not None:
        _write_page(page, found)
    say(found.model_dump(mode="json"), as_json, lambda: lineage_text(found))
    broken = [proof.thing for proof in proofs if not proof.holds and proof.thing != "lock file"]
    if broken:
        raise ReleaseError(f"{model} version {version}: {', '.join(broken)} is not as recorded")


@click.command(epilog="Example: mlops diff breast_cancer 2 3")
@click.argument("model")
@click.argument("before", type=int, metavar="V1")
@click.argument("after", type=int, metavar="V2")
@json_option
def diff(model: str, before: int, after: int, as_json: bool) -> None:
    """Say what is different between two versions of MODEL.

    Parameters, data, code, environment and metrics, and what both answer on the same rows: the
    holdout of the newer one.
    """
    from mlops_pipelines.explain.diff import diff as between
    from mlops_pipelines.explain.diff_text import diff_text

    bench = workbench()
    spec = bench.project.model(model).spec
    found = between(_sources(bench), bench.registry, bench.project.root, spec, before, after)
    say(found.as_dict(), as_json, lambda: diff_text(found))


@click.command(epilog="Example: mlops history breast_cancer")
@click.argument("model")
@json_option
def history(model: str, as_json: bool) -> None:
    """List the versions of MODEL: gates, deployments, metrics and the worst night."""
    from mlops_pipelines.explain.history import history as lines_of
    from mlops_pipelines.explain.history import history_text

    bench = workbench()
    main, sources = bench.project.model(model).spec.main_metric, _sources(bench)
    entries = sources.books.versions(model)
    if not entries:
        raise NotFoundError(f"{model} has no version yet; train it with: mlops train {model}")
    deployed = sources.events.deployments(model)
    lines = lines_of(entries, deployed, sources.books.nights(model, [main]), main)
    said = {"model": model, "metric": main, "versions": [each.as_dict() for each in lines]}
    say(said, as_json, lambda: history_text(lines, main))


@click.command(epilog="Example: mlops find 5a5b0c0593cc")
@click.argument("what")
@json_option
def find(what: str, as_json: bool) -> None:
    """Find the version behind WHAT.

    An image, bundle or snapshot by its digest (12 digits or more of it), a commit, a Dagster or
    MLflow run, or a prediction by its id.
    """
    from mlops_pipelines.explain.find import find as versions_behind

    bench = workbench()
    log_dirs = {name: bench.target.log_dir(name) for name in bench.project.models}
    found = versions_behind(_sources(bench), log_dirs, what)
    say([vars(each) for each in found], as_json, lambda: "\n".join(map(_found_line, found)))


def _sources(bench: Workbench) -> Sources:
    from mlops_pipelines.explain.sources import Sources

    return Sources.of(bench.project)


def _write_page(path: Path, found: Record) -> None:
    from mlops_pipelines.explain.page import record_page
    from mlops_pipelines.store import write_atomically

    try:
        write_atomically(path.absolute(), record_page(found).encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _found_line(found: Found) -> str:
    version = "no version" if found.version is None else f"version {found.version}"
    says = f" ({found.says})" if found.says else ""
    return f"{found.model} {version}: {found.kind} {found.value}{says}"


@click.command(epilog="Example: mlops replay breast_cancer 0198c2f4-…")
@click.argument("model")
@click.argument("prediction")
@json_option
def replay(model: str, prediction: str, as_json: bool) -> None:
    """Answer a logged PREDICTION again, and compare. Its own bundle answers."""
    from mlops_pipelines.explain.replay import replay as answer_again

    bench = workbench()
    bench.project.model(model)
    log_dir = bench.target.log_dir(model)
    found = answer_again(bench.registry, bench.project.store, log_dir, model, prediction)
    verdict = "identical to the last bit" if found.identical else "NOT identical"
    say(
        {**vars(found), "identical": found.identical},
        as_json,
        lambda: (
            f"{prediction}, version {found.version}, {found.predicted_at}: {verdict}\n"
            f"  logged   {found.logged}\n  replayed {found.replayed}"
        ),
    )
    sys.exit(0 if found.identical else 1)
