"""A day of a registered version, from its worker's log to the report in the store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from mlops_pipelines import record
from mlops_pipelines.monitor.day_sample import day_sample
from mlops_pipelines.monitor.labels import collect, labelled_rows
from mlops_pipelines.monitor.night_drift import night_drift
from mlops_pipelines.monitor.performance import assess
from mlops_pipelines.monitor.predictions import compact, day_rows
from mlops_pipelines.monitor.profiles import references_of, window_of
from mlops_pipelines.monitor.report import written_report
from mlops_pipelines.monitor.verdict import drift
from mlops_pipelines.project import Declared
from mlops_pipelines.serve.log import SegmentWriter
from mlops_pipelines.serve.segments import LabelRow, Prediction
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import freeze
from mlops_pipelines.train.training import train_version

DAY = "2026-03-01"


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "n": rng.integers(0, 9, n), "churned": np.where(x > 0, 1, 0)})


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """What a worker wrote of 200 rows whose x came ten times too large, and their labels."""
    folder = tmp_path / "log"
    headers = [
        {"schema": 1, "kind": kind, "model": "churn", "model_version": 1, "columns": ["x", "n"]}
        for kind in ("predictions", "labels")
    ]
    predictions = SegmentWriter(folder, "churn-v1", headers[0], fsync=False)
    labels = SegmentWriter(folder, "labels-churn-v1", headers[1], fsync=False)
    at = f"{DAY}T12:00:00.000000Z"

    async def answer() -> None:
        for i, (x, n, truth) in enumerate(rows(200, 1).itertuples(index=False)):
            share = float(1 / (1 + np.exp(-x)))
            features = [float(10 * x), int(n)]
            answered = (f"p{i}", f"r{i}", 0, at, at, int(x > 0), share, None, 1.0, features)
            await predictions.append_and_wait(orjson.dumps(tuple(Prediction(*answered))) + b"\n")
            label = LabelRow(f"p{i}", int(truth), None, at)
            await labels.append_and_wait(orjson.dumps(tuple(label)) + b"\n")

    asyncio.run(answer())
    predictions.close()
    labels.close()
    return folder


def test_a_day(tmp_path: Path, logged: Path, make_spec: Any) -> None:
    spec: ModelSpec = make_spec(
        estimator={"python": "sklearn.linear_model:LogisticRegression", "cross_validation": 0}
    )
    store = Store(str(tmp_path / "store"))
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"))
    digest = freeze(rows(600, 0), spec, store, "rows").digest
    made_by = record.Provenance("commit", "", "lock", "3.11", "run")
    trained = train_version(
        Declared(spec, tmp_path, "defs.yaml"),
        tmp_path,
        registry,
        store,
        digest,
        made_by,
    )
    assert compact(store, logged, "churn").days == {DAY: 200}
    assert collect(store, logged, spec, tmp_path, tmp_path).new == 200

    references = references_of(registry, "churn")
    window = window_of(store, spec, trained.version, DAY, references)
    sample = day_sample(store, "churn", DAY, None, 50)
    assert window is not None
    assert (window.whole.n, sample.rows, len(sample.frame)) == (200, 200, 50)
    judged_night = night_drift(registry, store, spec, window)
    found = judged_night.drift
    assert (found.status, {*found.drifted} - {"prediction"}) == ("alarm", {"x", "score"})
    # What was drawn is kept, and read by whoever judges the day again.
    kept = {key: store.read_bytes(key) for key in store.keys("nulls")}
    assert kept
    assert {key.rpartition("/")[0] for key in kept} == {f"nulls/churn/{trained.version}"}
    assert night_drift(registry, store, spec, window).drift == found
    assert {key: store.read_bytes(key) for key in store.keys("nulls")} == kept
    rows_as_read = day_rows(store, "churn", DAY)
    assert drift(registry, spec, trained.version, rows_as_read).status == "alarm"

    with written_report(
        store, registry, spec, DAY, trained.version, sample.frame, judged_night
    ) as page:
        key = f"reports/churn/{DAY}/drift_report_v{trained.version}.html"
        assert page.path.read_bytes() == store.read_bytes(key)
        assert page.uri == page.path.as_uri()
        assert "churn, 2026-03-01: alarm" in page.path.read_text()

    baseline = registry.version("churn", trained.version).metrics
    judged = assess(spec, labelled_rows(store, "churn", DAY), trained.version, baseline)
    assert (judged.status, judged.labelled, judged.value) == ("ok", 200, 1.0)
    with registry.night("churn", DAY, trained.version) as night:
        night.log_metrics({**judged.metrics(), **found.metrics()})
