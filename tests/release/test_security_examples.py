"""The example models on their own data: nothing may be found, and planted faults must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_pipelines.project import Project
from mlops_pipelines.release.security.assess import Answers
from mlops_pipelines.release.security.attack import under_attack
from mlops_pipelines.release.security.case import Case
from mlops_pipelines.release.security.leakage import leaks
from mlops_pipelines.release.security.personal import personal_data
from mlops_pipelines.release.security.privacy import membership, twins
from mlops_pipelines.release.security.report import SecurityReport, Seen
from mlops_pipelines.release.security.robustness import under_noise
from mlops_pipelines.store import Store
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.snapshot import freeze, read_rows
from mlops_pipelines.train.source import load_rows
from tests.release.security_cases import Answering, measured

ROOT = Path(__file__).parents[2]


def example(name: str, folder: Path) -> tuple[Case, Answers]:
    declared = Project.find(ROOT).model(name)
    spec, store = declared.spec, Store(str(folder / "store"))
    snapshot = freeze(load_rows(spec.data.source, ROOT, declared.folder), spec, store, "test")
    rows = read_rows(store, snapshot)
    estimator = fit(spec, snapshot, rows.train, rows.holdout, ROOT, declared.folder).estimator
    case = Case(snapshot, rows.train, rows.holdout, spec.main_metric, spec.main_drop)
    return case, Answering(estimator, snapshot)


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "card_fraud"])
def test_nothing_is_found_in_the_example_models(name: str, tmp_path: Path) -> None:
    case, model = example(name, tmp_path)
    policy = Project.find(ROOT).model(name).spec.security
    seen = [
        Seen(list(personal_data(case.train, case.features))),
        leaks(case),
        twins(case),
        membership(case, model),
        under_noise(case, model),
        under_attack(case, model),
    ]
    report = SecurityReport.of(seen, policy)
    assert report.findings == ()
    assert {
        "best_single_feature",
        "holdout_twins",
        "membership_advantage",
        "noise_0.05",
        "noise_0.1",
        "noise_0.25",
    } < set(measured(Seen(report.findings, report.measures)))


def test_the_best_column_of_breast_cancer_is_no_leak(tmp_path: Path) -> None:
    case, _ = example("breast_cancer", tmp_path)
    seen = leaks(case)
    assert not seen.findings
    assert 0.95 < measured(seen)["best_single_feature"] < 0.99
