"""The loop told as a story, each sentence checked; see DESIGN.md for what it shows."""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_pipelines import record
from mlops_pipelines.demo import stage
from mlops_pipelines.demo.daemon import Daemon, overheard
from mlops_pipelines.demo.page import Page, StoryError
from mlops_pipelines.demo.reset import begin_anew
from mlops_pipelines.demo.traffic import Answers, SteadyCallers, ask_night, send_labels
from mlops_pipelines.errors import MlopsError
from mlops_pipelines.explain.lineage import history, lineage
from mlops_pipelines.explain.replay import replay
from mlops_pipelines.explain.text import lineage_text
from mlops_pipelines.keys import run_tags
from mlops_pipelines.project import Project
from mlops_pipelines.running import Ran, run_job, step_config
from mlops_pipelines.store import write_atomically
from mlops_pipelines.workbench import Workbench, deployments

if TYPE_CHECKING:
    from dagster import DagsterInstance

MODEL = "breast_cancer"
METRICS = ("accuracy", "roc_auc")


def tell(project: Project, json_file: Path | None = None) -> int:
    """Tell the story; 0 only if each part of it really happened. Writes what was seen as JSON."""
    page = Page()
    bench = Workbench(replace(project, environment_name="local"))
    os.environ["MLOPS_ENV"] = "local"
    # The story is what is printed; Dagster's own lines stay in its event log.
    logging.getLogger("dagster").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    failure = ""
    try:
        begin_anew(bench, MODEL)
        with bench.instance() as instance:
            _Story(page, bench, instance).run()
    except (StoryError, MlopsError) as error:
        failure = str(error)
        page.console.print(f"  [red]✗ {failure}[/red]", soft_wrap=True)
    finally:
        if (project.home / "serving").exists():
            bench.target.stop(MODEL)
    seen = {"ok": not failure, "failure": failure, "seconds": round(page.seconds, 1)}
    if json_file is not None:
        text = json.dumps({**seen, "steps": page.steps}, indent=2, default=str)
        write_atomically(json_file.absolute(), text.encode())
    return 1 if failure else 0


@dataclass
class _Story:
    page: Page
    bench: Workbench
    instance: DagsterInstance
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    truth: list[Any] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    address: str = ""

    def run(self) -> None:
        self.daemon = Daemon(self.bench.defs, self.instance, MODEL)
        today = datetime.now(UTC).date()
        self.days = [(today - timedelta(days=n)).isoformat() for n in (3, 2, 1)]
        self.daemon.automate()
        self.page.console.print(
            f"[bold]mlops demo[/bold]  model {MODEL}, environment local, state in "
            f"{self.bench.project.home}"
        )
        self.first_version()
        self.better_version()
        self.worse_challenger()
        self.upstream_fault()
        self.hindsight()
        self.explain()

    def first_version(self) -> None:
        page = self.page
        # Evidently takes seconds to import: it does so while the first server starts.
        warming = threading.Thread(target=import_module, args=("evidently",), daemon=True)
        page.title("A first version")
        trained = self.train(
            "trained on the real rows, with a simple estimator",
            estimator={"python": "sklearn.naive_bayes:GaussianNB", "params": {}},
        )
        warming.start()
        self.release(trained)
        self.meet_the_callers(trained)
        page.staged(
            f"callers ask for {len(self.rows)} held-out rows over HTTP, dated {self.days[0]}"
        )
        answers = self.ask(self.days[0], self.rows)
        page.expect(answers.versions == {trained}, f"version {trained} did not answer alone")
        self.label(answers)
        self.night(self.days[0])
        page.expect(self.degraded(self.days[0]) is False, "the first night was not ok")

    def better_version(self) -> None:
        page = self.page
        page.title("A better version takes over while callers keep asking")
        trained = self.train("trained as assets/breast_cancer/defs.yaml declares")
        with SteadyCallers(self.address, self.rows, self.columns) as callers:
            self.release(trained)
        older, newer = self.metrics(trained - 1), self.metrics(trained)
        page.expect(newer["accuracy"] > older["accuracy"], "version 2 is not better")
        with page.step("switch", "the switch") as seen:
            counts = {str(version): n for version, n in sorted(callers.by_version.items()) if n}
            page.expect(callers.failed == 0, f"{callers.failed} requests failed in the switch")
            page.expect(set(counts) >= {str(trained - 1), str(trained)}, "one version never asked")
            seen.update(answered=counts, failed=callers.failed)
            seen["says"] = (
                f"accuracy {older['accuracy']:.3f} → {newer['accuracy']:.3f}; while it switched, "
                f"{sum(callers.by_version.values())} requests were answered and none was dropped"
            )

    def worse_challenger(self) -> None:
        page, champion = self.page, self.champion()
        page.title("A worse challenger")
        trained = self.train(
            "trained with a stump for a tree",
            estimator={"python": "sklearn.tree:DecisionTreeClassifier", "params": {"max_depth": 1}},
        )
        with page.step("refused", f"releasing version {trained}") as seen:
            ran = self.released(trained)
            refused = [check for check in ran.checks if check.blocking and not check.passed]
            page.expect(bool(refused) and not ran.success, "the worse challenger was not refused")
            page.expect(self.champion() == champion, "traffic moved to a refused version")
            page.expect(self.answering() == champion, "traffic moved to a refused version")
            seen["says"] = (
                f"version {trained} is refused: {refused[0].description}; "
                f"version {champion} keeps the traffic"
            )
            seen["gates"] = [check.name for check in refused]

    def upstream_fault(self) -> None:
        page, champion, day = self.page, self.champion(), self.days[1]
        page.title("An upstream fault: no version is to blame")
        page.staged(
            f"from {day} on, {stage.FAULTY_COLUMN!r} arrives in another unit "
            f"(times {stage.FAULTY_FACTOR:g})"
        )
        self.label(self.ask(day, stage.change_unit(self.rows)))
        ran = self.night(day)
        drifted = ran.metadata_of_check("no_drift").get("drifted_columns") or []
        page.expect(stage.FAULTY_COLUMN in drifted, "the drift report does not name the column")
        page.expect(self.degraded(day) is True, "performance did not fall")
        better = ran.metadata_of_check("no_degradation")["previous_clearly_better"]
        page.expect(not better, "the previous version is said to be better")
        with page.step("decision", "the rollback sensor") as seen:
            runs = self.daemon.tick("roll_back_degraded_models")
            page.expect(not runs and self.champion() == champion, "something was rolled back")
            asked = self.daemon.automate()
            page.expect((f"{MODEL}/training_data", None) in asked, "no retraining was requested")
            seen["says"] = (
                f"the drift report names {', '.join(map(repr, drifted))}; accuracy fell, but the "
                "previous version is no better on the same rows: nothing is rolled back, "
                "a retraining is requested"
            )
            seen["drifted"] = list(drifted)
        trained = self.train("retrained, as requested")
        page.staged("the upstream team mends the unit")
        self.release(trained)

    def hindsight(self) -> None:
        page, good, day = self.page, self.champion(), self.days[2]
        page.title("A version that only looks better")
        page.staged(
            f"a training source with {stage.HINDSIGHT_COLUMN!r}, a column that production "
            "does not have yet when it asks"
        )
        trained = self.train(
            "trained on it",
            source={"python": "mlops_pipelines.demo.stage:with_hindsight"},
            estimator={
                "python": "sklearn.ensemble:HistGradientBoostingClassifier",
                "params": {"max_iter": 30},
            },
        )
        self.release(trained)
        page.expect(
            self.metrics(trained)["roc_auc"] > self.metrics(good)["roc_auc"],
            "the version with hindsight does not look better",
        )
        columns = (stage.HINDSIGHT_COLUMN, *self.columns)
        answers = self.ask(day, self.rows, columns)
        self.label(answers)
        ran = self.night(day)
        page.expect(self.degraded(day) is True, "performance did not fall")
        better = ran.metadata_of_check("no_degradation")["previous_clearly_better"]
        page.expect(bool(better), "the previous version is not said to be better")
        with page.step("rollback", "the rollback sensor") as seen, overheard() as alerts:
            runs = self.daemon.tick("roll_back_degraded_models")
            page.expect(len(runs) == 1 and runs[0].success, "the sensor did not roll back")
            page.expect(self.champion() == good == self.answering(), "traffic did not go back")
            tags = self.bench.registry.version(MODEL, trained).tags
            page.expect(record.QUARANTINED in tags, "the failed version is not quarantined")
            self.daemon.tick("send_alerts")
            told = [line for line in alerts if "rolled back" in line]
            page.expect(bool(told), "nobody was alerted of the rollback")
            seen["alerts"] = alerts
            seen["says"] = (
                f"version {good} is clearly better on the same rows: the sensor rolls back from "
                f"{trained} to {good}, quarantines {trained} and alerts ({len(alerts)} alerts)"
            )
        self.replayed = answers.ids[0]

    def explain(self) -> None:
        page, bench = self.page, self.bench
        store, registry = bench.project.store, bench.registry
        page.title("Why, and can it be proven?")
        with page.step("replay", "answering a logged prediction again") as seen:
            log_dir = bench.target.log_dir(MODEL)
            found = replay(registry, store, log_dir, MODEL, self.replayed)
            page.expect(found.identical, "the replayed prediction differs")
            seen["says"] = (
                f"prediction {self.replayed[:8]}… answered again in version {found.version}'s "
                f"bundle: score {found.replayed['score']!r}, identical to the last bit"
            )
        champion = self.champion()
        deployed = deployments(self.instance, MODEL)
        with page.step("lineage", f"mlops lineage {MODEL}") as seen:
            behind = lineage(registry, store, MODEL, champion, deployed)
            page.expect(bool(behind["data"]["snapshot"] and behind["bundle"]), "lineage has holes")
            seen["lineage"] = behind
        page.console.print(lineage_text(behind), style="dim", soft_wrap=True)
        rows = history(registry.versions(MODEL), deployed)
        page.steps.append({"step": "versions", "versions": rows})
        page.versions(rows, METRICS)
        page.console.print(
            f"\nThe loop is closed ({page.seconds:.0f} s). Where to look next:\n"
            "  make ui                       the Dagster UI and the MLflow UI on this state\n"
            f"  .venv/bin/mlops serve {MODEL}   start the champion again (the demo stopped it)\n"
            f"  .venv/bin/mlops lineage {MODEL} --verify\n"
            f"  {self.report()}"
        )

    # The verbs of the story.

    def train(self, says: str, **config: Any) -> int:
        with self.page.step("train", says) as seen:
            source, estimator = config.get("source"), config.get("estimator")
            settings: dict[str, Any] = {"ops": {}}
            if source:
                asset = step_config(MODEL, "training_data", {"source": source})
                settings["ops"] |= asset["ops"]
            if estimator:
                settings["ops"] |= step_config(MODEL, "model", estimator)["ops"]
            ran = self.job("train", config=settings).raise_on_failure()
            version = int(ran.metadata["model"]["version"])
            numbers = ", ".join(f"{name} {ran.metadata['model'][name]:.3f}" for name in METRICS)
            seen.update(version=version, dagster_run=ran.run_id)
            seen["says"] = f"version {version} is {says}: {numbers}"
        return version

    def released(self, version: int) -> Ran:
        """What declarative automation asks for, run as the daemon would."""
        asked = {key for key, partition in self.daemon.automate() if partition == str(version)}
        self.page.expect(
            f"{MODEL}/deployment" in asked, f"automation did not release version {version}"
        )
        return self.job("release", partition=str(version))

    def release(self, version: int) -> None:
        with self.page.step("release", f"version {version} goes through its gates") as seen:
            ran = self.released(version).raise_on_failure()
            done = ran.metadata["deployment"]
            passed = [check.name for check in ran.checks if check.passed]
            self.page.expect(self.champion() == version == self.answering(), "it does not serve")
            seen.update(version=version, checks=passed, seconds_to_switch=done["seconds"])
            seen["says"] = (
                f"version {version} passes {len(passed)} checks ({', '.join(passed)}) "
                f"and serves at {done['address']}"
            )

    def meet_the_callers(self, version: int) -> None:
        """The rows that callers ask about: those held out, which no version is trained on."""
        from mlops_pipelines.train.snapshot import load_snapshot, read_rows

        digest = self.bench.registry.version(MODEL, version).tags[record.SNAPSHOT]
        snapshot = load_snapshot(self.bench.project.store, MODEL, digest)
        holdout = read_rows(self.bench.project.store, snapshot).holdout
        self.columns = tuple(column.name for column in snapshot.columns)
        self.rows = holdout[list(self.columns)]
        self.truth = holdout[snapshot.target].tolist()
        service = self.bench.target.service(MODEL)
        self.page.expect(service is not None, "nothing serves")
        self.address = service.address if service else ""

    def ask(self, day: str, rows: pd.DataFrame, columns: tuple[str, ...] = ()) -> Answers:
        with self.page.step("traffic", f"callers ask on {day}") as seen:
            answers = ask_night(self.address, rows, columns or self.columns, day)
            self.page.expect(answers.failed == 0, f"{answers.failed} requests failed")
            right = sum(a == b for a, b in zip(answers.predictions, self.truth, strict=True))
            seen.update(day=day, requests=len(answers.ids), failed=answers.failed)
            seen["says"] = (
                f"{len(answers.ids)} requests of {day} are answered by version "
                f"{min(answers.versions)} ({right} will turn out right)"
            )
        return answers

    def label(self, answers: Answers) -> None:
        accepted = send_labels(self.address, answers.ids, self.truth)
        self.page.expect(accepted == len(answers.ids), "labels were lost")

    def night(self, day: str) -> Ran:
        with self.page.step("night", f"the night of {day}") as seen:
            ran = self.job("monitor", partition=day).raise_on_failure()
            checks = {check.name: check.passed for check in ran.checks}
            seen.update(day=day, checks=checks, report=ran.metadata["drift_report"]["report"])
            failed = [check for check in ran.checks if not check.passed]
            said = "; ".join(f"{check.name}: {check.description}" for check in failed)
            seen["says"] = f"labels are in, the night of {day} is evaluated: {said or 'ok'}"
        self._nights = {**getattr(self, "_nights", {}), day: ran}
        return ran

    def degraded(self, day: str) -> bool:
        check = self._nights[day].check("no_degradation")
        self.page.expect(
            check is not None and check.metadata["status"] != "insufficient_data",
            f"the night of {day} could not be judged",
        )
        return check is not None and not check.passed

    def job(self, track: str, **arguments: Any) -> Ran:
        tags = run_tags(MODEL, track)
        return run_job(self.bench.defs, self.instance, f"{MODEL}_{track}", tags=tags, **arguments)

    def champion(self) -> int:
        return self.bench.registry.champion(MODEL) or 0

    def answering(self) -> int:
        """The version that answers at the public address."""
        service = self.bench.target.service(MODEL)
        return (service.version or 0) if service else 0

    def metrics(self, version: int) -> dict[str, float]:
        return dict(self.bench.registry.version(MODEL, version).metrics)

    def report(self) -> str:
        return str(self._nights[self.days[1]].metadata["drift_report"]["report"])
