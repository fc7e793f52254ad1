"""Intervals hold what they promise, at error rates that are stated beside each test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.intervals import (
    bootstrap_interval,
    bootstrap_intervals,
    paired_bootstrap,
)
from mlops_pipelines.measure.metrics import METRICS
from mlops_pipelines.measure.outputs import Outputs, judge


def simulated(rng: np.random.Generator, n: int, noise: float = 1.0) -> tuple[np.ndarray, Outputs]:
    truth = rng.integers(2, size=n)
    score = 1 / (1 + np.exp(-(truth + noise * rng.normal(size=n))))
    return truth, Outputs((score > 0.6).astype(int), score)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(METRICS)),
    st.integers(0, 1000),
    st.integers(2, 4),
    st.booleans(),
)
def test_weights_are_repeated_rows(name: str, seed: int, k: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    n, metric = 30, METRICS[name]
    regression = "regression" in metric.tasks
    k = 2 if len(metric.tasks) == 1 else k
    classes = [] if regression else list(range(k))
    truth = rng.normal(size=n) if regression else rng.integers(k, size=n)
    probabilities = rng.dirichlet(np.ones(k), size=n).round(1 if ties else 8)
    outputs = (
        Outputs(rng.normal(size=n))
        if regression
        else Outputs(probabilities.argmax(axis=1), probabilities[:, 1], probabilities)
    )
    counts = rng.integers(0, 4, size=n)
    rows = np.repeat(np.arange(n), counts)
    weighted = metric.prepare(judge(truth, outputs, classes))(counts[None].astype(float))[0]
    if name != "calibration_error":  # whose bins stay those of the original rows
        repeated = metric.compute(truth[rows], outputs.take(rows), classes)
        assert weighted == pytest.approx(repeated, nan_ok=True)


@pytest.mark.parametrize(
    ("metric", "true_value"),
    [("roc_auc", 0.7602), ("brier", None), ("mae", np.sqrt(2 / np.pi)), ("accuracy", None)],
)
def test_the_interval_covers_the_true_value(metric: str, true_value: float | None) -> None:
    # Of 400 intervals at 95 %, between 90 % and 98 % cover: a correct one fails with chance 0.002.
    rng = np.random.default_rng(11)
    regression = metric == "mae"
    if true_value is None:
        true_value = METRICS[metric].compute(*simulated(rng, 2_000_000), [0, 1])
    covered = 0
    for seed in range(400):
        if regression:
            truth, outputs = rng.normal(size=150), Outputs(np.zeros(150))
        else:
            truth, outputs = simulated(rng, 150)
        found = bootstrap_interval(
            metric, truth, outputs, [] if regression else [0, 1], n_resamples=500, seed=seed
        )
        covered += found.low <= true_value <= found.high
    assert 0.90 <= covered / 400 <= 0.98


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "rmse"])
def test_equal_models_are_seldom_called_different(metric: str) -> None:
    # 2.5 % on each side is 15 of 600; a correct test leaves 3 to 27 with chance 0.002 on each side.
    rng = np.random.default_rng(12)
    better = worse = 0
    for seed in range(600):
        truth = rng.integers(2, size=150)
        logits = truth + rng.normal(size=150) + 0.7 * rng.normal(size=(2, 150))
        a, b = (
            Outputs((x > 0).astype(int), 1 / (1 + np.exp(-x))) if metric != "rmse" else Outputs(x)
            for x in logits
        )
        classes = [] if metric == "rmse" else [0, 1]
        found = paired_bootstrap(metric, truth, a, b, classes, n_resamples=500, seed=seed)
        better += found.clearly_better
        worse += found.clearly_worse
    assert 3 <= better <= 27
    assert 3 <= worse <= 27


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_the_better_model_is_found_whichever_way_the_metric_runs(metric: str) -> None:
    rng = np.random.default_rng(13)
    truth = rng.integers(2, size=400)
    good, bad = (
        Outputs((x > 0).astype(int), 1 / (1 + np.exp(-x)))
        for x in (2 * truth - 1 + noise * rng.normal(size=400) for noise in (0.7, 2.5))
    )
    found = paired_bootstrap(metric, truth, good, bad, [0, 1], seed=1)
    turned = paired_bootstrap(metric, truth, bad, good, [0, 1], seed=1)
    assert found.clearly_better
    assert not found.clearly_worse
    assert turned.clearly_worse
    assert not turned.clearly_better
    assert (turned.improvement, turned.low, turned.high) == pytest.approx(
        (-found.improvement, -found.high, -found.low)
    )


def test_a_model_is_no_better_than_itself() -> None:
    truth, outputs = simulated(np.random.default_rng(14), 200)
    found = paired_bootstrap("roc_auc", truth, outputs, outputs, [0, 1], seed=1)
    assert (found.improvement, found.low, found.high) == (0, 0, 0)
    assert not found.clearly_better
    assert not found.clearly_worse


def test_the_same_seed_gives_the_same_interval() -> None:
    truth, outputs = simulated(np.random.default_rng(15), 300)
    once, again, other = (
        bootstrap_interval("roc_auc", truth, outputs, [0, 1], seed=seed) for seed in (1, 1, 2)
    )
    assert once == again != other
    assert once.low < once.value < once.high


def test_undefined_resamples_are_counted() -> None:
    truth = np.r_[1, np.zeros(29, dtype=int)]
    outputs = Outputs(truth, np.linspace(0.9, 0.1, 30))
    found = bootstrap_interval("roc_auc", truth, outputs, [0, 1], seed=1)
    assert 250 < found.undefined < 480  # (1 − 1/30)^30 = 36 % of resamples miss the one positive
    assert found.value == found.low == found.high == 1


def test_an_undefined_metric_is_one_clear_line() -> None:
    outputs = Outputs(np.zeros(5, dtype=int), np.full(5, 0.1))
    with pytest.raises(DataError, match=r"^roc_auc: undefined on these 5 rows"):
        bootstrap_interval("roc_auc", np.zeros(5, dtype=int), outputs, [0, 1], seed=1)
    with pytest.raises(DataError, match=r"^accuracy: undefined on these 0 rows"):
        bootstrap_interval(
            "accuracy", np.array([]), outputs.take(np.array([], int)), [0, 1], seed=1
        )


def test_many_rows_are_resampled_in_blocks() -> None:
    truth, outputs = simulated(np.random.default_rng(16), 300_000)
    found = bootstrap_interval("roc_auc", truth, outputs, [0, 1], n_resamples=50, seed=1)
    assert found.high - found.low < 0.01


def test_several_metrics_have_the_intervals_that_each_has_alone() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(2, size=300)
    score = rng.random(300)
    outputs = Outputs((score > 0.5).astype(int), score)
    names = ("roc_auc", "accuracy", "f1")
    together = bootstrap_intervals(names, truth, outputs, [0, 1], n_resamples=200, seed=1)
    assert together == {
        name: bootstrap_interval(name, truth, outputs, [0, 1], n_resamples=200, seed=1)
        for name in names
    }
