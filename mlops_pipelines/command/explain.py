"""`mlops status`, `lineage` and `replay`."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlops_pipelines.command.shared import json_option, say, workbench
from mlops_pipelines.errors import ReleaseError


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
    return (
        f"{found['model']}: version {found['serving']} serves at {found['address']} with "
        f"{found['replicas']} worker(s) since {found['deployed_at']}, by {found['deployed_by']}"
    )


@click.command(epilog="Example: mlops lineage breast_cancer --verify")
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--verify", "prove", is_flag=True, help="Recompute the recorded hashes.")
@json_option
def lineage(model: str, version: int | None, prove: bool, as_json: bool) -> None:
    """Print everything behind a version of MODEL. Default: the version that serves."""
    from mlops_pipelines.explain.lineage import lineage as behind
    from mlops_pipelines.explain.lineage import newest
    from mlops_pipelines.explain.text import lineage_text
    from mlops_pipelines.explain.verify import verify

    bench = workbench()
    bench.project.model(model)
    store, registry = bench.project.store, bench.registry
    version = version or newest(registry, model)
    found = behind(registry, store, model, version, bench.deployed(model))
    proofs = verify(registry, store, bench.project.root, model, version) if prove else ()
    if prove:
        found["proofs"] = [{**vars(proof), "holds": proof.holds} for proof in proofs]
    say(found, as_json, lambda: lineage_text(found))
    broken = [proof.thing for proof in proofs if not proof.holds and proof.thing != "lock file"]
    if broken:
        raise ReleaseError(f"{model} version {version}: {', '.join(broken)} is not as recorded")


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
