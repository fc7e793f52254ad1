"""A day judged before its labels are in, scored when they come; the version before beside it."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.measure.estimator import Estimator, fit_estimator
from mlops_pipelines.measure.metrics import evaluate
from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.monitor.coverage import day_coverage
from mlops_pipelines.monitor.estimates import (
    Estimated,
    Previous,
    estimate_day,
    watched_metric,
)
from mlops_pipelines.monitor.night_estimate import estimate_night
from mlops_pipelines.monitor.performance import assess
from mlops_pipelines.monitor.track_record import Scored, TrackRecord, scored_nights, track_record
from mlops_pipelines.train.estimates import ESTIMATOR
from mlops_pipelines.train.registry import Registry
from tests.monitor.test_performance import predictor

GOOD = TrackRecord(30, 0.01, 0.0, 0.005)


def rows(n: int, seed: int, spread: float = 2.0, version: int = 3) -> pd.DataFrame:
    """Rows of a calibrated version: a small `spread` brings rows that are hard to tell apart."""
    random = np.random.default_rng(seed)
    x = spread * random.normal(size=n)
    chance = 1 / (1 + np.exp(-x))
    return pd.DataFrame(
        {
            "prediction_id": [f"p{seed}-{i}" for i in range(n)],
            "predicted_at": pd.Timestamp("2026-03-01", tz="UTC"),
            "model_version": version,
            "prediction": np.where(chance > 0.5, "good", "bad"),
            "score": chance,
            "probabilities": [np.array([1 - c, c]) for c in chance],
            "x": x,
            "label": np.where(random.random(n) < chance, "good", "bad"),
        }
    )


def learned(frame: pd.DataFrame) -> tuple[Estimator, dict[str, float]]:
    outputs = Outputs(frame["prediction"].to_numpy(), frame["score"].to_numpy())
    truth, classes = frame["label"].to_numpy(), ("bad", "good")
    return fit_estimator(frame[["x"]], (), truth, outputs, classes), evaluate(
        "binary_classification", truth, outputs, classes
    )


@pytest.fixture(scope="module")
def version() -> tuple[Estimator, dict[str, float]]:
    return learned(rows(3000, 1000))


def test_a_day_as_the_holdout_is_ok(make_spec: Any, version: Any) -> None:
    found = estimate_day(make_spec(), rows(600, 0), 3, *version, GOOD)
    assert (found.status, found.metric, found.rows) == ("ok", "accuracy", 600)
    assert found.estimate is not None and found.estimate.low is not None
    logged = found.metrics()
    assert logged["estimated_accuracy_low"] < logged["estimated_accuracy"]
    assert logged["estimate_mean_error"] == 0.01 and logged["estimate_nights"] == 30
    assert "estimated_roc_auc" in logged and "estimated_roc_auc_low" not in logged
    assert "estimates were off by 0.01 on average over 30 nights with labels" in found.sentence
    assert "| roc_auc |" in found.markdown() and "shown only" in found.markdown()
    json.dumps(found.evidence())


def test_an_alarm_needs_the_drop_the_interval_and_a_record(make_spec: Any, version: Any) -> None:
    hard = rows(600, 0, spread=0.7)
    spec = make_spec()
    assert estimate_day(spec, hard, 3, *version, GOOD).status == "alarm"
    without = estimate_day(spec, hard, 3, *version)
    assert without.status == "insufficient_data"
    assert without.sentence.endswith("no night has been scored against its labels yet")
    unsure = TrackRecord(30, 0.2, 0.0, 0.2)
    assert estimate_day(spec, hard, 3, *version, unsure).status == "ok"
    allowed = make_spec(react={"rollback": {"drop": 0.5}})
    assert estimate_day(allowed, hard, 3, *version, GOOD).status == "ok"
    few = estimate_day(spec, hard.iloc[:29], 3, *version, GOOD)
    assert (few.status, few.sentence) == (
        "insufficient_data",
        "29 rows answered; 30 are needed to estimate accuracy",
    )


def test_what_past_nights_showed_moves_the_estimate(make_spec: Any, version: Any) -> None:
    """The world changed and the scores do not know: only labels of other nights tell."""
    found = estimate_day(make_spec(), rows(600, 0), 3, *version, TrackRecord(30, 0.1, -0.15, 0.01))
    assert found.status == "alarm"
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(found.estimates["accuracy"].value - 0.15)


def test_rows_that_cannot_be_estimated(make_spec: Any, version: Any) -> None:
    silent = rows(100, 0).assign(score=np.nan, probabilities=None)
    found = estimate_day(make_spec(), silent, 3, *version, GOOD)
    assert found.status == "insufficient_data"
    assert "100 answers lack the probabilities" in found.sentence
    turned = make_spec(data={"positive": "bad"})
    found = estimate_day(turned, rows(100, 0), 3, *version, GOOD)
    assert found.sentence.endswith("version 3 was measured with another positive class")
    found = estimate_day(make_spec(), rows(100, 0), 3, version[0], {}, GOOD)
    assert found.sentence.endswith("the holdout has no accuracy to compare with")


def test_it_is_scored_on_the_labelled_rows(make_spec: Any, version: Any) -> None:
    frame = rows(600, 0)
    found = estimate_day(make_spec(), frame, 3, *version, GOOD, labelled=frame.iloc[:200])
    some = estimate_day(make_spec(), frame.iloc[:200], 3, *version)
    real = (frame["label"] == frame["prediction"]).iloc[:200].mean()
    assert found.error == pytest.approx(real - some.estimates["accuracy"].value)
    assert found.metrics()["estimate_error_accuracy"] == found.error
    unlabelled = estimate_day(make_spec(), frame, 3, *version, labelled=frame.iloc[:9])
    assert unlabelled.error is None and "estimate_error_accuracy" not in unlabelled.metrics()


def test_which_metric_decides(make_spec: Any) -> None:
    def of(task: str, metric: str) -> str:
        return watched_metric(make_spec(task, react={"rollback": {"metric": metric}}))

    assert of("binary_classification", "roc_auc") == "accuracy"
    assert of("binary_classification", "f1") == "f1"
    assert of("multiclass_classification", "log_loss") == "accuracy"
    assert of("regression", "r2") == "rmse"
    assert of("regression", "mae") == "mae"


def test_unchanged_rows_rarely_alarm_and_few_falls_are_missed(make_spec: Any, version: Any) -> None:
    """Of 100 days as the holdout none alarms; of 50 whose accuracy fell by 0.1, all but 1.

    An alarm needs 0.05 and the interval: the estimate of 300 rows varies by 0.008, so that six
    deviations lie between.
    """
    spec = make_spec()
    calm = [estimate_day(spec, rows(300, s), 3, *version, GOOD).status for s in range(100)]
    assert calm.count("alarm") == 0
    hard = [estimate_day(spec, rows(300, s, 0.9), 3, *version, GOOD).status for s in range(50)]
    assert hard.count("alarm") >= 49


def knows(frame: pd.DataFrame) -> Any:
    good = 1 / (1 + np.exp(-6 * frame["x"].to_numpy()))
    return np.column_stack([1 - good, good])


def test_the_previous_version_by_what_each_expects_to_err(make_spec: Any, version: Any) -> None:
    """The previous version tells the hard rows apart, as its own holdout showed."""
    frame = rows(600, 0, spread=0.7)
    sharp = rows(3000, 7, spread=0.7)
    sharp["label"] = np.where(sharp["x"] > 0, "good", "bad")
    sharp["score"] = knows(sharp)[:, 1]
    theirs, _ = learned(sharp)
    other = Previous(2, predictor(knows, ("bad", "good")), theirs, GOOD)
    found = estimate_day(make_spec(), frame, 3, *version, GOOD, other)
    assert found.previous_difference is not None and found.previous_difference.clearly_better
    assert "version 2 is clearly better on the same rows" in found.sentence
    assert found.sentence.endswith("as estimated")

    judged = assess(make_spec(), frame.iloc[:0], 3, version[1], other.predictor, 2, estimated=found)
    assert (judged.status, judged.basis, judged.labelled) == ("alarm", "estimated", 0)
    assert judged.previous_clearly_better
    assert judged.evidence()["basis"] == "estimated"
    assert judged.metrics()["estimated_accuracy"] == pytest.approx(found.estimate.value)  # type: ignore[union-attr]
    assert judged.sentence.startswith("0 labelled rows; 30 are needed to judge; estimated accuracy")
    labelled = assess(make_spec(), frame, 3, version[1], other.predictor, 2, estimated=found)
    assert labelled.basis == "realised"
    unknown = estimate_day(make_spec(), frame, 3, *version)
    silent = assess(make_spec(), frame.iloc[:0], 3, version[1], estimated=unknown)
    assert (silent.status, silent.basis) == ("insufficient_data", "realised")


def test_a_day_is_provisional_while_labels_are_missing(make_spec: Any, version: Any) -> None:
    frame = pd.concat([rows(600, 0), rows(50, 1, version=2)], ignore_index=True)
    covered = day_coverage(make_spec(), frame, frame.iloc[:426], 3)
    assert (covered.own.rows, covered.own.labelled) == (600, 426)
    assert covered.sentence.startswith("coverage 71% of 600 rows; labels so far are ")
    assert "| 2 | 50 | 0 | 0% |" in covered.markdown()
    judged = assess(make_spec(), frame.iloc[:426], 3, version[1], coverage=covered)
    assert judged.provisional and "; provisional: coverage 71% of 600 rows" in judged.sentence
    assert judged.metrics()["coverage"] == pytest.approx(0.71)
    whole = day_coverage(make_spec(), frame, frame.iloc[:590], 3)
    assert not assess(make_spec(), frame, 3, version[1], coverage=whole).provisional
    assert not day_coverage(make_spec(), frame, frame.iloc[:0], 3).provisional
    numbers = frame.assign(label=2.5)
    assert "are 2.5 on average" in day_coverage(make_spec("regression"), frame, numbers, 3).sentence
    assert day_coverage(make_spec(), frame.iloc[:0], frame.iloc[:0], 3).own.share == 0


def test_regression_is_estimated_from_what_is_logged(make_spec: Any) -> None:
    from mlops_pipelines.measure.profile import Column, reference_profile

    def made(n: int, seed: int, shift: float) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        x = random.normal(shift, 1, n)
        return pd.DataFrame(
            {
                "prediction_id": [f"p{i}" for i in range(n)],
                "predicted_at": pd.Timestamp("2026-03-01", tz="UTC"),
                "model_version": 3,
                "prediction": 2 * x,
                "score": 2 * x,
                "probabilities": None,
                "x": x,
                "label": 2 * x + np.exp(0.6 * x) * random.normal(size=n),
            }
        )

    holdout = made(3000, 0, 0.0)
    outputs = Outputs(holdout["prediction"].to_numpy(), holdout["score"].to_numpy())
    reference = reference_profile(holdout, [Column("x", "numeric"), Column("score", "numeric")])
    truth = holdout["label"].to_numpy()
    estimator = fit_estimator(holdout[["x"]], reference.columns, truth, outputs, ())
    baseline = evaluate("regression", truth, outputs, ())
    spec = make_spec("regression")
    assert set(estimator.loss_by_cell) == {"x", "score"}
    fine = estimate_day(spec, made(500, 1, 0.0), 3, estimator, baseline, GOOD)
    assert (fine.status, fine.metric) == ("ok", "rmse")
    worse = estimate_day(spec, made(500, 1, 0.8), 3, estimator, baseline, GOOD)
    assert worse.status == "alarm"


def test_an_estimate_alarms_at_the_promised_rate(make_spec: Any, version: Any) -> None:
    """2.35 standard deviations below the baseline: nine nights in 1,000, three are one a year."""
    estimator, _ = version
    react = {"rollback": {"metric": "accuracy", "drop": 0.001}}

    def judged(per_year: float, baseline: float) -> Estimated:
        spec = make_spec(react=react, monitor={"false_alarms_per_year": per_year})
        return estimate_day(spec, rows(300, 1), 3, estimator, {"accuracy": baseline}, GOOD)

    shown = judged(1, 0.9).estimate
    assert shown is not None and shown.high is not None
    beyond = shown.value + 1.2 * (shown.high - shown.value)
    assert (judged(1, beyond).status, judged(10, beyond).status) == ("ok", "alarm")
    assert judged(365, beyond).status == "alarm"


def test_a_night_from_what_mlflow_keeps(tmp_path: Path, make_spec: Any, version: Any) -> None:
    """Six nights with labels make a record; the seventh has none, and is judged by it."""
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"))
    spec = make_spec()
    first = date(2026, 3, 1)
    for place in range(6):
        day = (first + timedelta(days=place)).isoformat()
        frame = rows(300, place, version=1)
        found = estimate_day(spec, frame, 1, *version, labelled=frame)
        for _ in range(2):  # a day that is looked at again is scored once
            with registry.night("churn", day, 1) as night:
                night.log_metrics(found.metrics())
    with registry.night("churn", first.isoformat(), 2) as night:
        night.log_metrics({"estimate_error_accuracy": 9.0, "estimate_margin_accuracy": 1.0})
    scored = scored_nights(registry, "churn", 1, "2026-03-07", "accuracy")
    assert [each.day for each in scored] == [f"2026-03-0{n}" for n in range(1, 7)]
    assert len(scored_nights(registry, "churn", 1, "2026-03-03", "accuracy")) == 2
    assert scored_nights(registry, "other", 1, "2026-03-03", "accuracy") == []
    found = track_record(scored)
    assert found.nights == 6 and found.mean_error is not None and found.mean_error < 0.05
    assert isinstance(scored[0], Scored) and scored[0].margin > 0
    assert ESTIMATOR == "estimator.json" and callable(estimate_night)
    assert isinstance(estimate_day(spec, rows(99, 9), 3, *version, found), Estimated)
