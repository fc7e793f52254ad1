"""The generated payments are what their module says of them."""

from __future__ import annotations

from datetime import timedelta
from types import ModuleType

import pandas as pd
import pytest

from mlops_pipelines.importing import load_attribute
from mlops_pipelines.measure.metrics import evaluate
from mlops_pipelines.store import Store
from mlops_pipelines.train.answers import answer, labels
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.snapshot import features, freeze, read_rows
from tests.train.conftest import ROOT, example_spec

FOLDER = ROOT / "assets" / "card_fraud"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    import sys

    return sys.modules[load_attribute("generate:transactions", ROOT, FOLDER).__module__]


def test_any_day_is_the_same_each_time(generate: ModuleType) -> None:
    rows = generate.transactions(days=14)
    last = generate.day(generate.LAST_TRAINING_DAY)
    pd.testing.assert_frame_equal(rows.tail(len(last)).reset_index(drop=True), last)
    assert rows["event_time"].is_monotonic_increasing
    assert not last.equals(generate.day(generate.LAST_TRAINING_DAY, seed=1))


def test_rhythm_and_rarity(generate: ModuleType) -> None:
    rows = generate.transactions(days=28)
    by_day = rows.groupby(rows["event_time"].dt.weekday).size()
    assert by_day.idxmax() == 5
    assert by_day.idxmin() == 6
    assert 0.007 < rows["fraud"].mean() < 0.015
    assert rows["distance_km"].isna().equals(rows["channel"] != "store")


def test_a_model_holds_until_the_drift_and_falls_with_it(
    generate: ModuleType, store: Store
) -> None:
    spec = example_spec("card_fraud")
    snapshot = freeze(generate.transactions(days=28), spec, store, "x")
    rows = read_rows(store, snapshot)
    fitted = fit(spec, snapshot, rows.train, rows.holdout, ROOT, FOLDER)
    assert fitted.class_weights is not None
    assert {"train_loss", "holdout_loss"} <= set(fitted.curves)

    def area_in(first: int) -> float:
        days = [generate.DRIFT_DAY + timedelta(days=first + ago) for ago in range(10)]
        frame = pd.concat([generate.day(one) for one in days], ignore_index=True)
        outputs = answer(fitted.estimator, features(frame, snapshot), snapshot)
        return evaluate(
            "binary_classification", labels(frame, snapshot), outputs, snapshot.classes or ()
        )["roc_auc"]

    assert fitted.metrics["roc_auc"] > 0.85
    assert area_in(-12) > 0.85
    assert area_in(0) < 0.6
