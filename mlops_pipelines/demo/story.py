"""The loop told as a story, each sentence checked; see DESIGN.md for what it shows."""

from __future__ import annotations

import json
import os
import threading
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

from mlops_pipelines import record
from mlops_pipelines.demo import stage
from mlops_pipelines.demo.daemon import Daemon, overheard
from mlops_pipelines.demo.hands import METRICS, MODEL, Hands
from mlops_pipelines.demo.page import Page, StoryError
from mlops_pipelines.demo.reset import begin_anew
from mlops_pipelines.demo.traffic import SteadyCallers
from mlops_pipelines.errors import MlopsError
from mlops_pipelines.explain.history import history
from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.replay import replay
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.explain.text import lineage_text
from mlops_pipelines.project import Project
from mlops_pipelines.store import write_atomically
from mlops_pipelines.workbench import Workbench


def tell(project: Project, json_file: Path | None = None) -> int:
    """Tell the story; 0 only if each part of it really happened. Writes what was seen as JSON."""
    page = Page()
    bench = Workbench(replace(project, environment_name="local"))
    os.environ["MLOPS_ENV"] = "local"
    warnings.simplefilter("ignore")
    failure = ""
    try:
        begin_anew(bench, MODEL)
        with bench.instance() as instance:
            hands = Hands(page, bench, instance, Daemon(bench.defs, instance, MODEL))
            Story(page, bench, hands, _last_days()).run()
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
class Story:
    """The acts, in order; `days` are the three nights that are told of."""

    page: Page
    bench: Workbench
    do: Hands
    days: tuple[str, str, str]

    def run(self) -> None:
        """Tell all of it; raises StoryError at the first sentence that is not true."""
        self.do.daemon.automate()
        self.page.console.print(
            f"[bold]mlops demo[/bold]  model {MODEL}, environment local, state in "
            f"{self.bench.project.home}"
        )
        self.first_version()
        self.better_version()
        self.worse_challenger()
        self.upstream_fault()
        self.explain(self.hindsight())

    def first_version(self) -> None:
        """Trained, gated, deployed; it answers, labels arrive, the night is ok."""
        page = self.page
        # Evidently takes seconds to import: it does so while the first server starts.
        warming = threading.Thread(target=import_module, args=("evidently",), daemon=True)
        page.title("A first version")
        trained = self.do.train(
            "trained on the real rows, with a simple estimator",
            estimator={"python": "sklearn.naive_bayes:GaussianNB", "params": {}},
        )
        warming.start()
        self.do.release(trained)
        self.do.meet_the_callers(trained)
        page.staged(
            f"callers ask for {len(self.do.rows)} held-out rows over HTTP, dated {self.days[0]}"
        )
        answers = self.do.ask(self.days[0], self.do.rows)
        page.expect(answers.versions == {trained}, f"version {trained} did not answer alone")
        self.do.label(answers)
        self.do.night(self.days[0])
        page.expect(self.do.degraded(self.days[0]) is False, "the first night was not ok")

    def better_version(self) -> None:
        """The declared estimator is better, and takes over under load."""
        page = self.page
        page.title("A better version takes over while callers keep asking")
        trained = self.do.train("trained as assets/breast_cancer/defs.yaml declares")
        with SteadyCallers(self.do.address, self.do.rows, self.do.columns) as callers:
            self.do.release(trained)
        older, newer = self.do.metrics(trained - 1), self.do.metrics(trained)
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
        """Refused by its gate; traffic does not move."""
        page, champion = self.page, self.do.champion()
        page.title("A worse challenger")
        trained = self.do.train(
            "trained with a stump for a tree",
            estimator={"python": "sklearn.tree:DecisionTreeClassifier", "params": {"max_depth": 1}},
        )
        with page.step("refused", f"releasing version {trained}") as seen:
            ran = self.do.released(trained)
            refused = [check for check in ran.checks if check.blocking and not check.passed]
            page.expect(bool(refused) and not ran.success, "the worse challenger was not refused")
            page.expect(self.do.champion() == champion, "traffic moved to a refused version")
            page.expect(self.do.answering() == champion, "traffic moved to a refused version")
            seen["says"] = (
                f"version {trained} is refused: {refused[0].description}; "
                f"version {champion} keeps the traffic"
            )
            seen["gates"] = [check.name for check in refused]

    def upstream_fault(self) -> None:
        """Named by the drift report; no version is to blame, so a retraining is requested."""
        page, champion, day = self.page, self.do.champion(), self.days[1]
        page.title("An upstream fault: no version is to blame")
        page.staged(
            f"from {day} on, {stage.FAULTY_COLUMN!r} arrives in another unit "
            f"(times {stage.FAULTY_FACTOR:g})"
        )
        self.do.label(self.do.ask(day, stage.change_unit(self.do.rows)))
        ran = self.do.night(day)
        drifted = ran.metadata_of_check("no_drift").get("drifted_columns") or []
        page.expect(stage.FAULTY_COLUMN in drifted, "the drift report does not name the column")
        page.expect(self.do.degraded(day) is True, "performance did not fall")
        better = ran.metadata_of_check("no_degradation")["previous_clearly_better"]
        page.expect(not better, "the previous version is said to be better")
        with page.step("decision", "the rollback sensor") as seen:
            runs = self.do.daemon.tick("roll_back_degraded_models")
            page.expect(not runs and self.do.champion() == champion, "something was rolled back")
            asked = self.do.daemon.automate()
            page.expect((f"{MODEL}/training_data", None) in asked, "no retraining was requested")
            seen["says"] = (
                f"the drift report names {', '.join(map(repr, drifted))}; accuracy fell, but the "
                "previous version is no better on the same rows: nothing is rolled back, "
                "a retraining is requested"
            )
            seen["drifted"] = list(drifted)

    def hindsight(self) -> str:
        """Ends with the id of a prediction that the failed version answered."""
        page, good, day = self.page, self.do.champion(), self.days[2]
        page.title("A version that only looks better")
        page.staged("the upstream team mends the unit")
        page.staged(
            f"the rows to train on gain {stage.HINDSIGHT_COLUMN!r}, a column that is still 0 when "
            "production asks"
        )
        trained = self.do.train(
            "trained anew, on these rows",
            source={"python": "mlops_pipelines.demo.stage:with_hindsight"},
            estimator={
                "python": "sklearn.ensemble:HistGradientBoostingClassifier",
                "params": {"max_iter": 30},
            },
        )
        self.do.release(trained)
        page.expect(
            self.do.metrics(trained)["roc_auc"] > self.do.metrics(good)["roc_auc"],
            "the version with hindsight does not look better",
        )
        columns = (stage.HINDSIGHT_COLUMN, *self.do.columns)
        answers = self.do.ask(day, stage.before_the_diagnosis(self.do.rows), columns)
        self.do.label(answers)
        ran = self.do.night(day)
        page.expect(self.do.degraded(day) is True, "performance did not fall")
        better = ran.metadata_of_check("no_degradation")["previous_clearly_better"]
        page.expect(bool(better), "the previous version is not said to be better")
        with page.step("rollback", "the rollback sensor") as seen, overheard() as alerts:
            runs = self.do.daemon.tick("roll_back_degraded_models")
            page.expect(len(runs) == 1 and runs[0].success, "the sensor did not roll back")
            page.expect(
                self.do.champion() == good == self.do.answering(), "traffic did not go back"
            )
            tags = self.bench.registry.version(MODEL, trained).tags
            page.expect(record.QUARANTINED in tags, "the failed version is not quarantined")
            self.do.daemon.tick("send_alerts")
            told = [line for line in alerts if "rolled back" in line]
            page.expect(bool(told), "nobody was alerted of the rollback")
            seen["alerts"] = alerts
            seen["says"] = (
                f"version {good} is clearly better on the same rows: the sensor rolls back from "
                f"{trained} to {good}, quarantines {trained} and alerts ({len(alerts)} alerts)"
            )
        return answers.ids[0]

    def explain(self, prediction: str) -> None:
        """One prediction answered again, and everything behind the serving version."""
        page, bench = self.page, self.bench
        store, registry = bench.project.store, bench.registry
        page.title("Why, and can it be proven?")
        with page.step("replay", "answering a logged prediction again") as seen:
            log_dir = bench.target.log_dir(MODEL)
            found = replay(registry, store, log_dir, MODEL, prediction)
            page.expect(found.identical, "the replayed prediction differs")
            seen["says"] = (
                f"prediction {prediction[:8]}… answered again in version {found.version}'s "
                f"bundle: score {found.replayed['score']!r}, identical to the last bit"
            )
        champion, sources = self.do.champion(), Sources.of(bench.project)
        main = bench.project.model(MODEL).spec.main_metric
        with page.step("lineage", f"mlops lineage {MODEL}") as seen:
            behind = lineage(sources, MODEL, champion, main)
            page.expect(bool(behind.data and behind.bundle), "lineage has holes")
            seen["lineage"] = behind.model_dump(mode="json")
        page.console.print(lineage_text(behind), style="dim", soft_wrap=True)
        report = self.do.nights[self.days[1]].metadata["drift_report"]["report"]
        entries, deployed = sources.books.versions(MODEL), sources.events.deployments(MODEL)
        nights = sources.books.nights(MODEL, [main])
        rows = [line.as_dict() for line in history(entries, deployed, nights, main)]
        page.steps.append({"step": "versions", "versions": rows})
        page.versions(rows, METRICS)
        page.console.print(
            f"\nThe loop is closed ({page.seconds:.0f} s). Where to look next:\n"
            "  make ui                       the Dagster UI and the MLflow UI on this state\n"
            f"  .venv/bin/mlops serve {MODEL}   start the champion again (the demo stopped it)\n"
            f"  .venv/bin/mlops lineage {MODEL} --verify\n"
            f"  {report}"
        )


def _last_days() -> tuple[str, str, str]:
    today = datetime.now(UTC).date()
    first, second, third = ((today - timedelta(days=n)).isoformat() for n in (3, 2, 1))
    return first, second, third
