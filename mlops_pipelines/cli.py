"""`mlops`: the command line. Each command has --json, and fails with one clear line."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mlops_pipelines.command.card import card
from mlops_pipelines.command.errors import errors
from mlops_pipelines.command.explain import diff, find, history, lineage, replay, status
from mlops_pipelines.command.profile import profile
from mlops_pipelines.command.reproduce import reproduce
from mlops_pipelines.command.shared import Group, json_option, say, workbench
from mlops_pipelines.errors import DeclarationError
from mlops_pipelines.waiting import bar


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mlops_pipelines")
def main() -> None:
    """Keeps machine-learning models healthy in production."""


for _each in (status, lineage, diff, history, find, replay, reproduce, card, errors, profile):
    main.add_command(_each)


@main.command(epilog="Example: mlops demo --json seen.json")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was seen.")
def demo(json_file: Path | None) -> None:
    """Tell the whole loop as a story, on real data. Exits 0 only if every part of it happened."""
    from mlops_pipelines.demo.story import tell

    sys.exit(tell(workbench().project, json_file))


@main.command(epilog="Example: mlops new churn --from churn.csv --target churned")
@click.argument("name")
@click.option(
    "--from", "data", required=True, type=click.Path(path_type=Path), help="CSV or Parquet."
)
@click.option("--target", required=True, help="Column to predict.")
@click.option("--drop", multiple=True, help="Column the model must not see; may be repeated.")
@json_option
def new(name: str, data: Path, target: str, drop: tuple[str, ...], as_json: bool) -> None:
    """Write a declaration for the rows in a file; it trains at once."""
    from mlops_pipelines.new import write_declaration

    bench = workbench()
    path, guess = write_declaration(bench.project.root, name, data, target, drop)
    shown = path.relative_to(bench.project.root).as_posix()
    lines = [f"wrote {shown} ({guess.task})", *(f"  {note}" for note in guess.notes)]
    lines.append(f"next: mlops train {name}")
    say({"file": shown, **vars(guess)}, as_json, lambda: "\n".join(lines))


@main.command(epilog="Example: MLOPS_ENV=production mlops check")
@json_option
def check(as_json: bool) -> None:
    """Find every mistake in declarations and environments. Each has its file:line:column."""
    from mlops_pipelines.environment import load_environment, unset

    project = workbench().project
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
    say(found, as_json, lambda: text)
    sys.exit(1 if mistakes or missing else 0)


@main.command(epilog="Example: mlops train breast_cancer")
@click.argument("model")
@click.option("--accept", is_flag=True, help="The rows are right though they differ from before.")
@json_option
def train(model: str, accept: bool, as_json: bool) -> None:
    """Train MODEL here and now, and register the version."""
    from mlops_pipelines.tracks import train_model

    with bar(f"training {model}"):
        ran, version = train_model(workbench(), model, accept=accept)
    metrics = {k: v for k, v in ran.metadata["model"].items() if isinstance(v, float)}
    text = f"{model} version {version}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items())
    text += "".join(f"\n  warning  {c.name}: {c.description}" for c in ran.checks if not c.passed)
    say(
        {"model": model, "version": version, "metrics": metrics, "dagster_run": ran.run_id},
        as_json,
        lambda: f"{text}\nnext: mlops release {model}",
    )


@main.command(epilog="Example: mlops release breast_cancer --version 3")
@click.argument("model")
@click.option("--version", type=int, help="Default: the newest.")
@json_option
def release(model: str, version: int | None, as_json: bool) -> None:
    """Take a version of MODEL through its gates, into the traffic."""
    from mlops_pipelines.tracks import release_version

    bench = workbench()
    with bar(f"releasing {model}"):
        ran, version = release_version(bench, model, version)
    for each in ran.checks if not as_json else ():
        click.echo(f"  {'passed' if each.passed else 'FAILED'}  {each.name}: {each.description}")
    done = ran.raise_on_failure().metadata["deployment"]
    lines = [done["steps"]] if done.get("steps") else []
    warm = f"; version {done['standby']} is kept warm" if done.get("standby") else ""
    lines.append(f"{model} version {version} serves at {done['address']}{warm}")
    say({"model": model, "dagster_run": ran.run_id, **done}, as_json, lambda: "\n".join(lines))


@main.command(epilog="Example: mlops monitor breast_cancer --day 2026-03-01")
@click.argument("model")
@click.option("--day", help="YYYY-MM-DD in UTC; default: today so far.")
@json_option
def monitor(model: str, day: str | None, as_json: bool) -> None:
    """Evaluate one day of MODEL: quality, drift, performance, health."""
    from mlops_pipelines.tracks import monitor_day

    with bar(f"evaluating {model}"):
        ran, day = monitor_day(workbench(), model, day)
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
    say(
        {"model": model, "day": day, "dagster_run": ran.run_id, "checks": checks, "report": report},
        as_json,
        lambda: "\n".join([f"{model}, {day}", *lines]),
    )


@main.command(epilog='Example: mlops rollback breast_cancer --reason "complaints from the clinic"')
@click.argument("model")
@click.option("--to", type=int, help="Version to put back; default: the one before.")
@click.option("--reason", required=True, help="Written into the event, the tags and the alert.")
@json_option
def rollback(model: str, to: int | None, reason: str, as_json: bool) -> None:
    """Put an older version of MODEL back. The one that served is quarantined."""
    from mlops_pipelines.tracks import roll_back

    with bar(f"rolling back {model}"):
        ran = roll_back(workbench(), model, to, reason).raise_on_failure()
    done = ran.metadata["deployment"]
    say(
        {"model": model, **done},
        as_json,
        lambda: f"{model} version {done['version']} serves again at {done['address']}",
    )


@main.command(epilog="Example: mlops serve breast_cancer --replicas 2")
@click.argument("model")
@click.option("--replicas", type=click.IntRange(1, 64), help="Default: as declared.")
@json_option
def serve(model: str, replicas: int | None, as_json: bool) -> None:
    """Start or scale the workers of MODEL's champion. No request is dropped."""
    from mlops_pipelines.tracks import serve_champion

    with bar(f"starting {model}"):
        service = serve_champion(workbench(), model, replicas)
    say(
        {"model": model, "version": service.version, "address": service.address},
        as_json,
        lambda: (
            f"{model} version {service.version} serves at {service.address} "
            f"({len(service.replicas)} workers)"
        ),
    )


@main.command(epilog="Example: mlops stop breast_cancer")
@click.argument("model")
@json_option
def stop(model: str, as_json: bool) -> None:
    """Stop the workers of MODEL. Requests in flight are finished first."""
    bench = workbench()
    bench.project.model(model)
    bench.target.stop(model)
    say({"model": model, "replicas": 0}, as_json, lambda: f"{model} is stopped")


@main.command(epilog="Example: mlops ui --dagster-port 3001")
@click.option("--dagster-port", default=3000, show_default=True)
@click.option("--mlflow-port", default=5000, show_default=True)
def ui(dagster_port: int, mlflow_port: int) -> None:
    """Open the Dagster UI and the MLflow UI; Ctrl-C stops both."""
    from mlops_pipelines.ui import run

    sys.exit(run(workbench().project, dagster_port, mlflow_port))
