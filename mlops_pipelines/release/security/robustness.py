"""How far the metric falls when chance moves the numbers a little.

Every number of the holdout is moved by a normal deviate of so many standard deviations of its
column, and the metric is measured again. Text, booleans and nulls stay as they are.
"""

from __future__ import annotations

import numpy as np

from mlops_pipelines.measure.metrics import METRICS, better
from mlops_pipelines.measure.outputs import Outputs, judge
from mlops_pipelines.release.security.case import Answers, Case, Numbers
from mlops_pipelines.release.security.report import Finding, Measure, Seen
from mlops_pipelines.tasks import IN_TARGET_UNIT, allowance

STRENGTHS = (0.05, 0.1, 0.25)
"""Of the noise, in standard deviations of each column."""
REPEATS = 5
NOISE_ROWS = 2000
RESAMPLES = 300


def under_noise(case: Case, model: Answers) -> Seen:
    """How far the metric falls, on at most 2,000 holdout rows.

    The interval (percentile bootstrap over rows, each with its own noise, the mean of five draws)
    holds chance of both rows and noise. A fall that the declaration calls too much in production
    is called fragile where it comes with a tenth of a standard deviation, or with less.
    """
    rows = case.some(case.holdout, NOISE_ROWS)
    if not case.numeric:
        return Seen()
    numbers = Numbers.of(case)
    clean = case.outputs(model, rows)
    truth = case.truth(rows)
    findings: list[Finding] = []
    measures = []
    random = np.random.default_rng(case.seed)
    for strength in STRENGTHS:
        noisy = []
        for _ in range(REPEATS):
            by = strength * random.standard_normal((len(rows), len(numbers.names)))
            noisy.append(case.outputs(model, numbers.moved(rows, by)[0]))
        value, fall, low, high = _fall(case, truth, clean, noisy)
        if not np.isfinite(fall):
            return Seen()
        measures.append(
            Measure(
                f"noise_{strength:g}",
                fall,
                f"fall of {case.metric} under noise of {strength:g} standard deviations",
                len(rows),
                low,
                high,
            )
        )
        too_much = allowance(case.metric, case.allowed, value)
        if strength <= 0.1 and low > too_much and not findings:
            findings.append(_fragile(case, strength, value, fall, low, high))
    return Seen(findings, measures)


def _fragile(
    case: Case, strength: float, value: float, fall: float, low: float, high: float
) -> Finding:
    verb = "rises" if case.metric in IN_TARGET_UNIT else "falls"
    return Finding(
        "medium",
        "fragile under noise",
        f"{case.metric} {value:.4g} {verb} by {fall:.4g} ({low:.4g} to {high:.4g}) when numbers "
        f"move by {strength:g} of their standard deviation",
        "regularize the estimator, or leave out columns that say nearly the same; check how "
        "precisely production measures them",
    )


def _fall(
    case: Case, truth: np.ndarray, clean: Outputs, noisy: list[Outputs]
) -> tuple[float, float, float, float]:
    """The metric without noise, its mean fall under noise, and the interval of the fall."""
    metric = METRICS[case.metric]
    judged = [judge(truth, outputs, case.classes) for outputs in (clean, *noisy)]
    values = np.array([metric.value(each) for each in judged])
    if not np.isfinite(values).all():
        return (float("nan"),) * 4
    prepared = [metric.prepare(each) for each in judged]
    random, n = np.random.default_rng(case.seed), len(truth)
    falls = []
    for _ in range(RESAMPLES):
        counts = np.bincount(random.integers(n, size=n), minlength=n)[None].astype(np.float64)
        before, *after = (float(under(counts)[0]) for under in prepared)
        falls.append(better(case.metric, before, float(np.mean(after))))
    low, high = np.nanquantile(falls, [0.025, 0.975])
    fall = better(case.metric, float(values[0]), float(values[1:].mean()))
    return float(values[0]), fall, float(low), float(high)
