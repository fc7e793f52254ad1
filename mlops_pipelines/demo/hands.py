"""The verbs of the story: train, release, ask, label, evaluate a night; each is a timed step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_pipelines import record
from mlops_pipelines.demo.daemon import Daemon
from mlops_pipelines.demo.page import Page, brief
from mlops_pipelines.demo.traffic import Answers, ask_night, send_labels
from mlops_pipelines.keys import run_tags
from mlops_pipelines.running import Ran, run_job, step_config
from mlops_pipelines.workbench import Workbench

if TYPE_CHECKING:
    from dagster import DagsterInstance

MODEL = "breast_cancer"
METRICS = ("accuracy", "roc_auc")


@dataclass
class Hands:
    """What people and callers do to the model; `rows` are held out of every training."""

    page: Page
    bench: Workbench
    instance: DagsterInstance
    daemon: Daemon
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    truth: list[Any] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    address: str = ""
    nights: dict[str, Ran] = field(default_factory=dict)

    def train(self, says: str, **config: Any) -> int:
        """Run the train job, with launch configuration where the story asks for it."""
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
        """Let automation release `version`, which must pass and serve."""
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
        """Callers ask for each row alone, over HTTP; none may fail."""
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
        """What turned out to be true comes back."""
        accepted = send_labels(self.address, answers.ids, self.truth)
        self.page.expect(accepted == len(answers.ids), "labels were lost")

    def night(self, day: str) -> Ran:
        """Run the monitor job for `day`."""
        with self.page.step("night", f"the night of {day}") as seen:
            ran = self.job("monitor", partition=day).raise_on_failure()
            checks = {check.name: check.passed for check in ran.checks}
            seen.update(day=day, checks=checks, report=ran.metadata["drift_report"]["report"])
            failed = [check for check in ran.checks if not check.passed]
            said = [f"\n           {each.name}: {brief(each.description)}" for each in failed]
            seen["says"] = f"labels are in, the night of {day} is evaluated: " + (
                "not ok" + "".join(said) if said else "ok"
            )
        self.nights[day] = ran
        return ran

    def degraded(self, day: str) -> bool:
        """Whether performance had fallen on `day`; it must have been judged."""
        check = self.nights[day].check("no_degradation")
        self.page.expect(
            check is not None and check.metadata["status"] != "insufficient_data",
            f"the night of {day} could not be judged",
        )
        return check is not None and not check.passed

    def job(self, track: str, **arguments: Any) -> Ran:
        """Run one job of the model."""
        tags = run_tags(MODEL, track)
        return run_job(self.bench.defs, self.instance, f"{MODEL}_{track}", tags=tags, **arguments)

    def champion(self) -> int:
        """The version that MLflow calls champion."""
        return self.bench.registry.champion(MODEL) or 0

    def answering(self) -> int:
        """The version that answers at the public address."""
        service = self.bench.target.service(MODEL)
        return (service.version or 0) if service else 0

    def metrics(self, version: int) -> dict[str, float]:
        """A version's metrics on its holdout."""
        return dict(self.bench.registry.version(MODEL, version).metrics)
