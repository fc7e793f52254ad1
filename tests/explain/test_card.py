"""The card tells what is on record, says what is not, and lets no text become markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mlops_pipelines import record
from mlops_pipelines.cli import main
from mlops_pipelines.explain.card import CARD, Card, attach_card, card
from mlops_pipelines.explain.card_page import card_page
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.monitor.fairness import logged_as
from mlops_pipelines.project import Project
from mlops_pipelines.release.bundle import build_bundle, open_predictor
from mlops_pipelines.release.evaluate import evaluate
from mlops_pipelines.release.evaluation_record import EVALUATION, evaluation_document
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import freeze, read_rows
from mlops_pipelines.train.training import train_version

HOSTILE = "<script>alert('x')</script>&\"<b>"
DECLARATION = f"""\
type: mlops_pipelines.MonitoredModel

attributes:
  name: churn
  description: {json.dumps(f"Who leaves. {HOSTILE}")}
  owners: ["team:sales"]
  task: binary_classification
  data:
    source: {{csv: churn.csv}}
    target: churned
    event_time: at
    segments: [site]
  estimator: {{python: "sklearn.linear_model:LogisticRegression", cross_validation: 2}}
  gates:
    - {{metric: roc_auc, at_least: 0.6}}
    - {{fairness: demographic_parity_difference, segment: site, at_most: 0.05}}
  card:
    intended_use: {json.dumps(f"Calls by sales. Not for prices. {HOSTILE}")}
    limits: ["It knows no company customers."]
    contact: sales@example.org
"""


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 1500
    site = rng.choice(["<i>north</i>", "south", "tiny"], n, p=[0.49, 0.5, 0.01])
    x = rng.normal(size=n) + np.where(site == "south", 0.8, 0)
    return pd.DataFrame(
        {
            "at": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(n), unit="h"),
            "x": x,
            "site": site,
            "churned": (x + rng.normal(size=n) > 1.9).astype(int),
        }
    )


@pytest.fixture
def churn(project_root: Path) -> tuple[Project, Registry]:
    """A version that was trained, and nothing more."""
    folder = project_root / "assets" / "churn"
    folder.mkdir()
    (folder / "defs.yaml").write_text(DECLARATION)
    project = Project.find()
    declared = project.model("churn")
    registry = Registry(project.tracking_uri, project.artifact_root)
    snapshot = freeze(rows(), declared.spec, project.store, "csv churn.csv")
    train_version(
        declared,
        project.root,
        registry,
        project.store,
        snapshot.digest,
        record.provenance(project.root),
    )
    return project, registry


def released(project: Project, registry: Registry) -> None:
    """Evaluate it, assess it, and let three nights go by."""
    from mlops_pipelines.train.snapshot import load_snapshot

    spec, store = project.model("churn").spec, project.store
    snapshot = load_snapshot(store, "churn", registry.version("churn", 1).tags[record.SNAPSHOT])
    build_bundle(registry, store, project.root, spec, 1)
    predictor = open_predictor(registry, store, "churn", 1)
    found = evaluate(spec, snapshot, read_rows(store, snapshot).holdout, predictor, None, None)
    fairness = [gap.as_dict() for gap in found.fairness]
    document = {**evaluation_document(found), "fairness": fairness}
    registry.keep_json("churn", 1, EVALUATION, document)
    registry.tag("churn", 1, {record.GATES: "refused: the gap is too wide"})
    finding = {
        "severity": "high",
        "kind": "no lock",
        "evidence": HOSTILE,
        "remedy": "write one",
        "accepted": "",
        "blocks": True,
    }
    measure = {"name": "a", "value": 0.1, "meaning": "told", "n": 9, "low": 0.0, "high": 0.2}
    security = {"schema": 1, "secure": False, "findings": [finding], "measures": [measure]}
    registry.keep_json("churn", 1, "security.json", security)
    gap = logged_as("site", "demographic_parity_difference")
    for day in (1, 2, 3):
        with registry.night("churn", f"2026-04-0{day}", 1) as night:
            night.log_metrics({"roc_auc": 0.8, gap: day / 10, f"{gap}_low": 0.0, f"{gap}_high": 1})


def card_of(project: Project) -> Card:
    return card(Sources.of(project), project.model("churn").spec, 1)


class Markup(HTMLParser):
    """Which elements a page has, that each is closed, and what it would load."""

    VOID = ("meta", "br", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.add(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_card_tells_what_is_on_record(churn: tuple[Project, Registry]) -> None:
    project, registry = churn
    released(project, registry)
    found = card_of(project)
    page = card_page(found)
    markup = Markup(page)
    assert not markup.names & {"script", "b>", "i", "link", "img", "iframe"}
    assert markup.loads == [] and "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert len(page.encode()) < 200_000
    text = re.sub(r"\s+", " ", markup.text)
    for said in (
        f"Who leaves. {HOSTILE}",
        f"Calls by sales. Not for prices. {HOSTILE}",
        "sales@example.org",
        "site = <i>north</i>",
        "site: how often it says yes (demographic parity)",
        "<i>north</i> and south",
        "0.3 (2026-04-03)",
        "3 nights, 2026-04-01 to 2026-04-03.",
        "2026-01-01 00:00 to 2026-03-04 ",
        "(by at)",
        "not secure",
        "gates refused",
        "write one",
        "not signed: hashes only",
        found.record.data.snapshot if found.record.data else "?",
    ):
        assert said in text, said
    sections = re.findall(r"<h2>(.*?)</h2>", page)
    assert sections == [
        "Model details",
        "Intended use",
        "Metrics",
        "Groups and fairness",
        "In production",
        "Training and evaluation data",
        "Security and privacy",
        "Limits",
        "Provenance",
    ]


def test_limits_are_what_the_data_does_not_cover(churn: tuple[Project, Registry]) -> None:
    project, registry = churn
    released(project, registry)
    found = card_of(project)
    data = found.record.data
    assert data is not None and data.class_counts is not None
    tiny = next(each for each in found.record.slices or () if each.value == "tiny")
    assert found.limits[:5] == (
        "It knows no company customers",
        "Its gates: refused, the gap is too wide",
        "It knows rows from 2026-01-01 to 2026-03-04, and nothing of what came before or since",
        "It was measured on 300 rows only: mind the intervals",
        f"Groups with too few rows to be measured: site = tiny ({tiny.rows})",
    )
    assert found.limits[5].startswith("Measured without the smallest groups: gaps between groups ")
    assert f"tiny has {tiny.rows}" in found.limits[5]


def test_a_card_of_a_version_that_was_only_trained(churn: tuple[Project, Registry]) -> None:
    project, _ = churn
    found = card_of(project)
    assert (found.gaps, found.security, found.watched) == (None, None, {})
    assert found.limits[-3:] == (
        "It was measured on 300 rows only: mind the intervals",
        "It has not been looked at in production",
        "No security assessment of it is on record",
    )
    markup = Markup(card_page(found))
    assert "No security assessment of it is on record." in markup.text


def test_what_is_not_declared_is_said(churn: tuple[Project, Registry]) -> None:
    project, _ = churn
    found = card_of(project)
    silent = found.spec.model_copy(
        update={"card": type(found.spec.card)(), "description": "", "owners": ()}
    )
    text = Markup(card_page(replace(found, spec=silent))).text
    assert "Not declared (card.intended_use)." in text


def test_the_card_is_kept_beside_the_version(churn: tuple[Project, Registry]) -> None:
    project, registry = churn
    spec = project.model("churn").spec
    attach_card(Sources.of(project), registry, spec, 1)
    first = registry.fetch("churn", 1, CARD).read_text()
    released(project, registry)
    attach_card(Sources.of(project), registry, spec, 1)
    assert registry.fetch("churn", 1, CARD).read_text() == card_page(card_of(project)) != first


def test_the_command_writes_it(churn: tuple[Project, Registry], tmp_path: Path) -> None:
    project, _ = churn
    told = CliRunner().invoke(main, ["card", "churn", "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert said["file"] == str(project.home / "cards" / "churn_v1.html")
    assert Path(said["file"]).read_text() == card_page(card_of(project))
    assert said["limits"] == list(card_of(project).limits)

    out = tmp_path / "deep" / "card.html"
    told = CliRunner().invoke(main, ["card", "churn", "1", "--out", str(out)])
    assert told.output == f"the card of churn version 1: {out}\n" and out.exists()

    gone = CliRunner().invoke(main, ["card", "churn", "9"])
    assert gone.exit_code == 1 and gone.output.startswith("error: ")
    (tmp_path / "file").write_text("")
    stuck = CliRunner().invoke(main, ["card", "churn", "--out", str(tmp_path / "file" / "x.html")])
    assert stuck.exit_code == 1 and "x.html cannot be written: " in stuck.output
