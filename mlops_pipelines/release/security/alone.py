"""A single feature that predicts the target better than all others together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.measure.intervals import PairedDifference, paired_bootstrap
from mlops_pipelines.measure.metrics import METRICS
from mlops_pipelines.measure.outputs import Floats, Outputs
from mlops_pipelines.release.security.case import Case
from mlops_pipelines.release.security.report import Finding, Measure, Seen

ROWS = 4000
FEWEST_OF_CLASS = 10
FOLDS = 3
ALONE = 0.99
"""ROC AUC, or R² of the target's ranks, from which a single feature is looked at further."""
SCREEN = 0.97
LOOKED_AT = 5
"""Features compared with all others, at most: the best ones."""
ALIKE = 0.99
"""Rank correlation from which two features count as the same one."""
RESAMPLES = 200

REMEDY = "find out when it is written: if not before the model is asked, name it in data.drop"


@dataclass(frozen=True)
class _Sample:
    """Training rows as numbers (text as codes), and their target: codes of classes, or ranks."""

    rows: pd.DataFrame
    text: frozenset[str]
    target: np.ndarray
    classes: int


def stands_out(case: Case, passed_over: Collection[str]) -> Seen:
    """Findings on the training rows, and how much the best single feature predicts alone.

    `passed_over` are features that are known to be leaks.
    """
    sample = _sample(case)
    if sample is None:
        return Seen()
    alone = {name: _alone(sample, name) for name in case.features}
    ordered = sorted(alone, key=lambda each: -alone[each])
    findings = [
        finding
        for name in ordered[:LOOKED_AT]
        if alone[name] >= ALONE and name not in passed_over
        for finding in _without_company(sample, name, alone[name], passed_over)
    ]
    what = "ROC AUC" if sample.classes else "R² of ranks"
    measure = Measure(
        "best_single_feature",
        alone[ordered[0]],
        f"{what} of {ordered[0]}, the best single feature, in cross-validation",
        len(sample.rows),
    )
    return Seen(findings, [measure])


def _sample(case: Case) -> _Sample | None:
    """At most 4,000 training rows, of every class as many as there are up to an equal share."""
    truth = case.truth(case.train)
    random = np.random.default_rng(case.seed)
    if case.classes:
        codes = pd.Categorical(truth, categories=list(case.classes)).codes.astype(np.int64)
        counts = np.bincount(codes, minlength=len(case.classes))
        kept = np.flatnonzero(counts >= FEWEST_OF_CLASS)
        if len(kept) < 2:
            return None
        each = ROWS // len(kept)
        chosen = np.concatenate(
            [random.permutation(np.flatnonzero(codes == code))[:each] for code in kept]
        )
        target = np.searchsorted(kept, codes[chosen])
    else:
        chosen = random.permutation(len(truth))[:ROWS]
        ranks = pd.Series(truth[chosen]).rank().to_numpy(dtype=np.float64)
        target, kept = ranks, np.array([])
    rows = case.train.iloc[chosen].reset_index(drop=True)[case.features]
    numbers, text = {}, set()
    for name in case.features:
        if pd.api.types.is_numeric_dtype(rows[name].dtype):
            numbers[name] = rows[name].to_numpy(dtype=np.float64)
        else:
            text.add(name)
            numbers[name] = pd.factorize(rows[name])[0].astype(np.float64)
    return _Sample(pd.DataFrame(numbers), frozenset(text), target, len(kept))


def _alone(sample: _Sample, name: str) -> float:
    """What one feature predicts, out of fold; most need only a quick look, which flatters them.

    A tree of at most 32 leaves for numbers (nulls included); for text the levels' own means.
    """
    column = sample.rows[[name]].to_numpy()
    if name in sample.text:
        return _value(sample, _folded(sample, column, _level_means))
    seen = _value(sample, _tree(sample, column, sample.target, column))
    return seen if seen < SCREEN else _value(sample, _folded(sample, column, _tree))


def _without_company(
    sample: _Sample, name: str, alone: float, passed_over: Collection[str]
) -> Iterator[Finding]:
    """Whether one feature predicts clearly better than all others together.

    An easy problem has several features that predict it well; a leak needs no company. Features
    that rank the rows as this one does are not company, nor are known leaks.
    """
    ranks = sample.rows.rank()
    like = ranks.corrwith(ranks[name]).abs() if sample.rows.shape[1] > 1 else pd.Series(dtype=float)
    others = [
        each
        for each in sample.rows
        if each not in (name, *passed_over) and not like.get(each, 0.0) >= ALIKE
    ]
    column = sample.rows[[name]].to_numpy()
    mine = _folded(sample, column, _level_means if name in sample.text else _tree)
    rest = 0.5 if sample.classes else 0.0
    if others:
        theirs = _folded(sample, sample.rows[others].to_numpy(), _forest)
        found = _compare(sample, mine, theirs)
        rest = found.b
        if not found.clearly_better or (1 - found.a) > (1 - found.b) / 2:
            return
    what = "ROC AUC" if sample.classes else "R² of ranks"
    yield Finding(
        "high",
        "feature that tells the target",
        f"column {name}: {what} {alone:.4f} alone, {rest:.4f} of all others together",
        REMEDY,
    )


Fit = Callable[[_Sample, Floats, np.ndarray, Floats], Floats]
"""(sample, known columns (n, k), their target, asked columns (m, k)) -> (m,) or (m, classes)."""


def _folded(sample: _Sample, columns: Floats, fit: Fit) -> Floats:
    """What `fit` says of each row, having seen the other folds."""
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if sample.classes else KFold
    shape = (len(columns), sample.classes) if sample.classes else (len(columns),)
    answers = np.zeros(shape)
    for known, asked in kind(FOLDS, shuffle=True, random_state=0).split(columns, sample.target):
        answers[asked] = fit(sample, columns[known], sample.target[known], columns[asked])
    return answers


def _tree(sample: _Sample, known: Floats, target: np.ndarray, asked: Floats) -> Floats:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if sample.classes else DecisionTreeRegressor
    return _fitted(
        kind(max_leaf_nodes=32, min_samples_leaf=5, random_state=0), known, target, asked
    )


def _forest(sample: _Sample, known: Floats, target: np.ndarray, asked: Floats) -> Floats:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if sample.classes else HistGradientBoostingRegressor
    return _fitted(kind(max_iter=60, max_leaf_nodes=15, random_state=0), known, target, asked)


def _fitted(estimator: Any, known: Floats, target: np.ndarray, asked: Floats) -> Floats:
    estimator.fit(known, target)
    ask = getattr(estimator, "predict_proba", estimator.predict)
    return np.asarray(ask(asked), dtype=np.float64)


def _level_means(sample: _Sample, known: Floats, target: np.ndarray, asked: Floats) -> Floats:
    """The target's mean (classes: their shares) among known rows of a level, one average row more.

    Levels that are not known get the average.
    """
    told = np.eye(sample.classes)[target] if sample.classes else target[:, None]
    grouped = pd.DataFrame(told).groupby(known[:, 0])
    average = told.mean(axis=0)
    counts = grouped.size().to_numpy()[:, None]
    means = pd.DataFrame(
        (grouped.sum().to_numpy() + average) / (counts + 1), index=list(grouped.groups)
    )
    answers = means.reindex(asked[:, 0]).to_numpy()
    answers = np.where(np.isnan(answers), average, answers)
    return answers if sample.classes else answers[:, 0]


def _as_outputs(sample: _Sample, answers: Floats) -> tuple[Outputs, tuple[int, ...]]:
    if not sample.classes:
        return Outputs(answers, answers, None), ()
    score = answers[:, 1] if sample.classes == 2 else answers.max(axis=1)
    shares = np.clip(answers, 0.0, 1.0)
    return Outputs(answers.argmax(axis=1), np.clip(score, 0, 1), shares), tuple(
        range(sample.classes)
    )


def _metric(sample: _Sample) -> str:
    return "roc_auc" if sample.classes else "r2"


def _value(sample: _Sample, answers: Floats) -> float:
    outputs, classes = _as_outputs(sample, answers)
    return METRICS[_metric(sample)].compute(sample.target, outputs, classes)


def _compare(sample: _Sample, mine: Floats, theirs: Floats) -> PairedDifference:
    outputs, classes = _as_outputs(sample, mine)
    others, _ = _as_outputs(sample, theirs)
    return paired_bootstrap(
        _metric(sample), sample.target, outputs, others, classes, n_resamples=RESAMPLES, seed=0
    )
