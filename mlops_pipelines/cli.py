"""`mlops`: the command line. Each command has --json, and fails with one clear line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_pipelines.errors import DeclarationError, MlopsError, ReleaseError
from mlops_pipelines.waiting import bar

if TYPE_CHECKING:
    from mlops_pipelines.workbench import Workbench


class Group(click.Group):
    """Errors raised on purpose become one line and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except MlopsError as error:
            click.echo(f"error: {error}", err=True)
            context.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mlops_pipelines")
def main() -> None:
    """Keeps machine-learning models healthy in production."""


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def _workbench() -> Workbench:
    from mlops_pipelines.project import Project
    from mlops_pipelines.workbench import Workbench

    return Workbench(Project.find())


def _say(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    click.echo(json.dumps(value, indent=2, default=str) if as_json else text())


@main.command(epilog="Example: mlops demo --json seen.json")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was seen.")
def demo(json_file: Path | None) -> None:
    """Tell the whole loop as a story, on real data. Exits 0 only if every part of it happened."""
    from mlops_pipelines.demo.story import tell

    sys.exit(tell(_workbench().project, json_file))


@main.command(epilog="Example: mlops new churn --from churn.csv --target churned")
@click.argument("name")
@click.option(
    "--from", "data", required=True, type=click.Path(path_type=Path), help="CSV or Parquet."
)
@click.option("--target", required=True, help="Column to predict.")
@click.option("--drop", multiple=True, help="Column the model must not see; may be repeated.")
@_json_option
def new(name: str, data: Path, target: str, drop: tuple[str, ...], as_json: bool) -> None:
    """Write a declaration for the rows in a file; it trains at once."""
    from mlops_pipelines.new import write_declaration

    bench = _workbench()
    path, guess = write_declaration(bench.project.root, name, data, target, drop)
    shown = path.relative_to(bench.project.root).as_posix()
    lines = [f"wrote {shown} ({guess.task})", *(f"  {note}" for note in guess.notes)]
    lines.append(f"next: mlops train {name}")
    _say({"file": shown, **vars(guess)}, as_json, lambda: "\n".join(lines))


@main.command(epilog="Example: MLOPS_ENV=production mlops check")
@_json_option
def check(as_json: bool) -> None:
    """Find every mistake in declarations and environments. Each has its file:line:column."""
    from mlops_pipelines.environment import load_environment, unset

    project = _workbench().project
    models = sorted(project.models)
    mistakes = [mistake for broken in project.broken for mistake in broken.mistakes]
    environments = sorted(path.stem for path in (project.root / "resources").glob("*.yaml"))
    missing: list[str] = []
    for name in environments:
        try:
            settings = load_environment(project.root, name)
        except DeclarationError as error:
            mistakes.extend(error.mistakes)
        else:
            missing += unset(settings) if name == project.environment_name else []
    found = {
        "models": models,
        "environments": environments,
        "mistakes": [vars(mistake) for mistake in mistakes],
        "unset": missing,
    }
    if mistakes or missing:
        chosen = f"resources/{project.environment_name}.yaml"
        lines = [str(mistake) for mistake in mistakes]
        lines += [f"{chosen} asks for {{env: {name}}}, which is not set" for name in missing]
        text = "\n".join(lines)
    else:
        text = f"{len(models)} models and {len(environments)} environments are sound"
    _say(found, as_json, lambda: text)
    sys.exit(1 if mistakes or missing else 0)


@main.command(epilog="Example: mlops train breast_cancer")
@click.argument("model")
@click.option("--accept", is_flag=True, help="The rows are right though they differ from before.")
@_json_option
def train(model: str, accept: bool, as_json: bool) -> None:
    """Train MODEL here and now, and register the version."""
    from mlops_pipelines.tracks import train_model

    with bar(f"training {model}"):
        ran, version = train_model(_workbench(), model, accept=accept)
    metrics = {k: v for k, v in ran.metadata["model"].items() if isinstance(v, float)}
    text = f"{model} version {version}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items())
    text += "".join(f"\n  warning  {c.name}: {c.description}" for c in ran.checks if not c.passed)
    _say(
        {"model": model, "version": version, "metrics": metrics, "dagster_run": ran.run_id},
        as_json,
        lambda: f"{text}\nnext: mlops release {model}",
    )


@main.command(epilog="Example: mlops release breast_cancer --version 3")
@click.argument("model")
@click.option("--version", type=int, help="Default: the newest.")
@_json_option
def release(model: str, version: int | None, as_json: bool) -> None:
    """Take a version of MODEL through its gates, into the traffic."""
    from mlops_pipelines.tracks import release_version

    bench = _workbench()
    with bar(f"releasing {model}"):
        ran, version = release_version(bench, model, version)
    for each in ran.checks if not as_json else ():
        click.echo(f"  {'passed' if each.passed else 'FAILED'}  {each.name}: {each.description}")
    done = ran.raise_on_failure().metadata["deployment"]
    _say(
        {"model": model, "dagster_run": ran.run_id, **done},
        as_json,
        lambda: f"{model} version {version} serves at {done['address']}",
    )


@main.command(epilog="Example: mlops monitor breast_cancer --day 2026-03-01")
@click.argument("model")
@click.option("--day", help="YYYY-MM-DD in UTC; default: today so far.")
@_json_option
def monitor(model: str, day: str | None, as_json: bool) -> None:
    """Evaluate one day of MODEL: quality, drift, performance, health."""
    from mlops_pipelines.tracks import monitor_day

    with bar(f"evaluating {model}"):
        ran, day = monitor_day(_workbench(), model, day)
    ran.raise_on_failure()
    checks = [
        {
            "asset": each.asset,
            "check": each.name,
            "passed": each.passed,
            "status": str(each.metadata.get("status") or ("ok" if each.passed else "alarm")),
            "says": each.description,
        }
        for each in ran.checks
    ]
    words = {"ok": "ok     ", "alarm": "ALARM  ", "insufficient_data": "unknown"}
    lines = [
        f"  {words[str(each['status'])]}  {each['asset']} {each['check']}: {each['says']}"
        for each in checks
    ]
    report = ran.metadata.get("drift_report", {}).get("report")
    if report:
        lines.append(f"  report: {report}")
    _say(
        {"model": model, "day": day, "dagster_run": ran.run_id, "checks": checks, "report": report},
        as_json,
        lambda: "\n".join([f"{model}, {day}", *lines]),
    )


@main.command(epilog='Example: mlops rollback breast_cancer --reason "complaints from the clinic"')
@click.argument("model")
@click.option("--to", type=int, help="Version to put back; default: the one before.")
@click.option("--reason", required=True, help="Written into the event, the tags and the alert.")
@_json_option
def rollback(model: str, to: int | None, reason: str, as_json: bool) -> None:
    """Put an older version of MODEL back. The one that served is quarantined."""
    from mlops_pipelines.tracks import roll_back

    with bar(f"rolling back {model}"):
        ran = roll_back(_workbench(), model, to, reason).raise_on_failure()
    done = ran.metadata["deployment"]
    _say(
        {"model": model, **done},
        as_json,
        lambda: f"{model} version {done['version']} serves again at {done['address']}",
    )


@main.command(epilog="Example: mlops serve breast_cancer --replicas 2")
@click.argument("model")
@click.option("--replicas", type=click.IntRange(1, 64), help="Default: as declared.")
@_json_option
def serve(model: str, replicas: int | None, as_json: bool) -> None:
    """Start or scale the workers of MODEL's champion. No request is dropped."""
    from mlops_pipelines.tracks import serve_champion

    with bar(f"starting {model}"):
        service = serve_champion(_workbench(), model, replicas)
    _say(
        {"model": model, "version": service.version, "address": service.address},
        as_json,
        lambda: (
            f"{model} version {service.version} serves at {service.address} "
            f"({len(service.workers)} workers)"
        ),
    )


@main.command(epilog="Example: mlops stop breast_cancer")
@click.argument("model")
@_json_option
def stop(model: str, as_json: bool) -> None:
    """Stop the workers of MODEL. Requests in flight are finished first."""
    bench = _workbench()
    bench.project.model(model)
    bench.target.stop(model)
    _say({"model": model, "replicas": 0}, as_json, lambda: f"{model} is stopped")


@main.command(epilog="Example: mlops status")
@click.argument("model", required=False)
@_json_option
def status(model: str | None, as_json: bool) -> None:
    """Say what serves, since when, and how it does."""
    from mlops_pipelines.explain.status import status as state_of

    bench = _workbench()
    names = [bench.project.model(model).spec.name] if model else sorted(bench.project.models)
    found = [state_of(bench.registry, bench.target, name) for name in names]
    for broken in bench.project.broken if not model else ():
        for mistake in broken.mistakes:
            click.echo(f"not loaded: {mistake}", err=True)
    _say(found, as_json, lambda: "\n".join(_status_line(each) for each in found))
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


@main.command(epilog="Example: mlops lineage breast_cancer --verify")
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--verify", "prove", is_flag=True, help="Recompute the recorded hashes.")
@_json_option
def lineage(model: str, version: int | None, prove: bool, as_json: bool) -> None:
    """Print everything behind a version of MODEL. Default: the version that serves."""
    from mlops_pipelines.explain.lineage import lineage as behind
    from mlops_pipelines.explain.lineage import newest, verify
    from mlops_pipelines.explain.text import lineage_text

    bench = _workbench()
    bench.project.model(model)
    store, registry = bench.project.store, bench.registry
    version = version or newest(registry, model)
    found = behind(registry, store, model, version, bench.deployed(model))
    proofs = verify(registry, store, bench.project.root, model, version) if prove else ()
    if prove:
        found["proofs"] = [{**vars(proof), "holds": proof.holds} for proof in proofs]
    _say(found, as_json, lambda: lineage_text(found))
    broken = [proof.thing for proof in proofs if not proof.holds and proof.thing != "lock file"]
    if broken:
        raise ReleaseError(f"{model} version {version}: {', '.join(broken)} is not as recorded")


@main.command(epilog="Example: mlops replay breast_cancer 0198c2f4-…")
@click.argument("model")
@click.argument("prediction")
@_json_option
def replay(model: str, prediction: str, as_json: bool) -> None:
    """Answer a logged PREDICTION again, and compare. Its own bundle answers."""
    from mlops_pipelines.explain.replay import replay as answer_again

    bench = _workbench()
    bench.project.model(model)
    log_dir = bench.target.log_dir(model)
    found = answer_again(bench.registry, bench.project.store, log_dir, model, prediction)
    verdict = "identical to the last bit" if found.identical else "NOT identical"
    _say(
        {**vars(found), "identical": found.identical},
        as_json,
        lambda: (
            f"{prediction}, version {found.version}, {found.predicted_at}: {verdict}\n"
            f"  logged   {found.logged}\n  replayed {found.replayed}"
        ),
    )
    sys.exit(0 if found.identical else 1)


@main.command(epilog="Example: mlops ui --dagster-port 3001")
@click.option("--dagster-port", default=3000, show_default=True)
@click.option("--mlflow-port", default=5000, show_default=True)
def ui(dagster_port: int, mlflow_port: int) -> None:
    """Open the Dagster UI and the MLflow UI; Ctrl-C stops both."""
    from mlops_pipelines.ui import run

    sys.exit(run(_workbench().project, dagster_port, mlflow_port))
