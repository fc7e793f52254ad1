"""Streams of answers whose truth is known: a reference, and windows that come after it.

Every stream is two Parquet files with `score`, `prediction` and `truth`; the windows have `window`,
counted from 0. The models have seen neither.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import ROOT

LEAST_ROWS = 30
"""Windows of fewer rows are left out."""

Stream = tuple[pd.DataFrame, pd.DataFrame]


def streams(quick: bool) -> Iterator[tuple[str, str, Stream]]:
    """(group, name, (reference, windows)); those on real data only where MLOPS_REAL_DATA is set."""
    folder = os.environ.get("MLOPS_REAL_DATA", "")
    real = Path(folder, "bank_marketing.parquet")
    if folder and real.exists():
        for name, stream in bank_marketing(pd.read_parquet(real)):
            yield name, name, stream
    for balanced in (False, True):
        kind = "card_fraud, balanced" if balanced else "card_fraud"
        yield kind, kind, card_fraud(balanced, 20 if quick else 40)
    for seed in range(3 if quick else 20):
        yield "make_classification", f"make_classification-{seed}", covariate_shift(seed)


def bank_marketing(frame: pd.DataFrame) -> Iterator[tuple[str, Stream]]:
    """The first 20,000 calls give model and reference; the rest follow by month and by 1,000.

    Of the shuffled calls, windows of 700 from the youngest to the oldest callers.
    """
    frame = frame.assign(truth=(frame["y"] == "yes").astype(int)).drop(columns="y")
    features = [name for name in frame if name not in ("truth", "contact_month")]
    first, rest = frame.iloc[:20_000], frame.iloc[20_000:]
    held = np.random.default_rng(0).random(len(first)) < 0.25
    answer = _model(first[~held], features)
    months = pd.factorize(rest["contact_month"].astype(str))[0]
    yield "bank_marketing, months", _stream(answer, first[held], rest, months)
    thousands = np.arange(len(rest)) // 1000
    yield "bank_marketing, 1,000 calls", _stream(answer, first[held], rest, thousands)

    mixed = frame.sample(frac=1, random_state=1)
    answer = _model(mixed.iloc[:15_000], features)
    later = mixed.iloc[20_000:]
    age = later["age"].to_numpy() + np.random.default_rng(0).normal(0, 5, len(later))
    later = later.iloc[np.argsort(age, kind="stable")]
    windows = np.arange(len(later)) // 700
    yield "bank_marketing, by age", _stream(answer, mixed.iloc[15_000:20_000], later, windows)


def card_fraud(balanced: bool, days: int) -> Stream:
    """Three weeks give the model, one the reference; `days` days follow, the drift on the 13th."""
    sys.path.insert(0, str(ROOT / "assets" / "card_fraud"))
    import generate

    frame = generate.transactions(28, 0).rename(columns={"fraud": "truth"})
    features = [name for name in frame if name not in ("truth", "event_time")]
    cut = len(frame) * 3 // 4
    answer = _model(frame.iloc[:cut], features, balanced)
    later = [generate.day(generate.LAST_TRAINING_DAY + timedelta(days=1 + i)) for i in range(days)]
    rows = pd.concat(later, ignore_index=True).rename(columns={"fraud": "truth"})
    windows = np.repeat(np.arange(days), [len(each) for each in later])
    return _stream(answer, frame.iloc[cut:], rows, windows)


def covariate_shift(seed: int, windows: int = 40, rows: int = 1000) -> Stream:
    """scikit-learn's make_classification, sampled along a direction that swings."""
    from sklearn.datasets import make_classification

    random = np.random.default_rng(seed)
    x, y = make_classification(
        60_000, 10, n_informative=5, n_redundant=2, flip_y=0.05, class_sep=0.6, random_state=seed
    )
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(10)]).assign(truth=y)
    features = list(frame.columns[:-1])
    answer = _model(frame.iloc[:6000], features)
    pool = frame.iloc[8000:]
    along = pool[features].to_numpy() @ random.normal(size=10)
    along = (along - along.mean()) / along.std()
    drawn = []
    for window in range(windows):
        weight = np.exp(1.2 * np.sin(window / 6) * along)
        drawn.append(random.choice(len(pool), rows, replace=False, p=weight / weight.sum()))
    number = np.repeat(np.arange(windows), rows)
    return _stream(answer, frame.iloc[6000:8000], pool.iloc[np.concatenate(drawn)], number)


def _model(
    train: pd.DataFrame, features: Sequence[str], balanced: bool = False
) -> Callable[[pd.DataFrame], Any]:
    """A gradient boosting fitted to `train`, as a function from rows to P(1)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    texts = [name for name in features if not pd.api.types.is_numeric_dtype(train[name])]
    levels = {name: sorted(train[name].dropna().unique()) for name in texts}

    def typed(rows: pd.DataFrame) -> pd.DataFrame:
        kept = rows[list(features)].copy()
        for name in texts:
            known = kept[name].where(kept[name].isin(levels[name]))
            kept[name] = pd.Categorical(known, categories=levels[name])
        return kept

    model = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.08,
        max_leaf_nodes=7,
        early_stopping=False,
        class_weight="balanced" if balanced else None,
        random_state=0,
    ).fit(typed(train), train["truth"])
    return lambda rows: model.predict_proba(typed(rows))[:, 1]


def _stream(
    answer: Callable[[pd.DataFrame], Any],
    reference: pd.DataFrame,
    rows: pd.DataFrame,
    windows: np.ndarray[Any, Any],
) -> Stream:
    def answered(frame: pd.DataFrame) -> pd.DataFrame:
        score = answer(frame)
        return pd.DataFrame(
            {
                "score": score,
                "prediction": (score > 0.5).astype(int),
                "truth": frame["truth"].to_numpy(),
            }
        )

    later = answered(rows).assign(window=windows)
    counts = later.groupby("window")["window"].transform("size")
    return answered(reference), later[counts >= LEAST_ROWS].reset_index(drop=True)
