"""What the model gives away of the rows it learned from, and rows that lie on both sides.

Membership: who knows a row with its label may guess from the model's loss on it whether it was
trained on (Yeom et al. 2018, https://arxiv.org/abs/1709.01604). The advantage of the best
threshold is the true positive rate less the false positive rate: 0 is a coin, 1 is certainty. The
threshold is chosen on one half of the rows and judged on the other, and the halves change roles,
so that choosing costs nothing. Where the holdout is later in time, drift counts as advantage too.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_pipelines.measure.metrics import per_row_loss
from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.release.security.case import Answers, Case
from mlops_pipelines.release.security.report import Finding, Measure, Seen

LOSS_ROWS = 5000
FEWEST_ROWS = 40
ADVANTAGE = 0.2
"""From here on, a guess on an even chance is right in more than 60 of 100 cases."""

NEAR = 0.02
"""Root mean square distance, in standard deviations: less than two digits of precision keep."""
HOLDOUT_ROWS = 2000
TRAIN_ROWS = 100_000
EXCESS, MUCH = 0.01, 0.1
"""Of holdout rows that have a twin in training, beyond what is natural: worth telling; blocking."""


def membership(case: Case, model: Answers) -> Seen:
    """The advantage of guessing by loss, on at most 5,000 rows of each side."""
    if min(len(case.train), len(case.holdout)) < FEWEST_ROWS:
        return Seen()
    learned, fresh = (_losses(case, model, rows) for rows in (case.train, case.holdout))
    value, low, high = advantage(learned, fresh, case.seed)
    n = len(learned) + len(fresh)
    measure = Measure(
        "membership_advantage",
        value,
        "advantage of guessing from its loss whether a row was trained on (0 none, 1 certain)",
        n,
        low,
        high,
    )
    if low <= ADVANTAGE:
        return Seen((), [measure])
    finding = Finding(
        "medium",
        "membership shows",
        f"advantage {value:.2f} ({low:.2f} to {high:.2f}) of guessing from the loss whether a row "
        "was trained on",
        "where rows are about people: regularize the estimator (shallower trees, larger leaves), "
        "or let only those ask who may know",
    )
    return Seen([finding], [measure])


def advantage(learned: Floats, fresh: Floats, seed: int) -> tuple[float, float, float]:
    """True less false positive rate of the best loss threshold, and its 95 % interval.

    `learned` and `fresh` are losses of rows on both sides. Interval: Newcombe's of a difference of
    two proportions (1998, method 10), over both halves.
    """
    random = np.random.default_rng(seed)
    halves = [np.array_split(random.permutation(side), 2) for side in (learned, fresh)]
    hits = [0, 0]
    for here, there in ((0, 1), (1, 0)):
        threshold = _threshold(halves[0][here], halves[1][here])
        for side in (0, 1):
            hits[side] += int((halves[side][there] <= threshold).sum())
    return _difference(hits[0], len(learned), hits[1], len(fresh))


def _losses(case: Case, model: Answers, rows: pd.DataFrame) -> Floats:
    some = case.some(rows, LOSS_ROWS)
    return per_row_loss(case.task, case.truth(some), case.outputs(model, some), case.classes)


def _threshold(learned: Floats, fresh: Floats) -> float:
    """The loss below which the most more rows of `learned` lie than of `fresh`."""
    losses = np.unique(np.concatenate([learned, fresh]))
    below = [
        np.searchsorted(np.sort(side), losses, side="right") / len(side)
        for side in (learned, fresh)
    ]
    return float(losses[int((below[0] - below[1]).argmax())])


def _difference(k: int, n: int, k_other: int, n_other: int) -> tuple[float, float, float]:
    """k/n − k_other/n_other with Newcombe's interval."""
    p, q = k / n, k_other / n_other
    (p_low, p_high), (q_low, q_high) = _wilson(k, n), _wilson(k_other, n_other)
    low = p - q - np.hypot(p - p_low, q_high - q)
    high = p - q + np.hypot(p_high - p, q - q_low)
    return p - q, float(low), float(high)


def _wilson(k: int, n: int) -> tuple[float, float]:
    z, p = 1.959964, k / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return float(middle - half), float(middle + half)


def twins(case: Case) -> Seen:
    """Holdout rows with an equal or nearly equal row among the training rows, target aside.

    Text and nulls must be equal. Data of few distinct values have twins by nature: what counts is
    the excess over the share of training rows that have a twin among the other training rows.
    Where a column has mostly values of its own, an equal row is never natural, and every one
    counts. At most 2,000 holdout and 100,000 training rows are looked at.
    """
    train = case.some(case.train, TRAIN_ROWS)
    coded, continuous = _coded(case, train, case.some(case.holdout, HOLDOUT_ROWS))
    known, asked = coded[: len(train)], coded[len(train) :]
    distinct, counts = _distinct(known)
    twin, equal = _nearest(distinct, asked)
    chosen = np.random.default_rng(case.seed).choice(
        len(known), min(len(known), HOLDOUT_ROWS), replace=False
    )
    own_twin = _own_twin(distinct, counts, known[chosen])
    value, low, high = _difference(int(twin.sum()), len(asked), int(own_twin.sum()), len(chosen))
    same = int(equal.sum())
    measures = [
        Measure(
            "holdout_twins",
            float(twin.mean()),
            "share of holdout rows with an equal or nearly equal training row",
            len(asked),
        ),
        Measure(
            "holdout_twins_excess",
            value,
            "that share beyond the one among the training rows themselves",
            len(asked),
            low,
            high,
        ),
    ]
    share = max(low, _wilson(same, len(asked))[0] if continuous else 0.0)
    if share <= EXCESS:
        return Seen((), measures)
    finding = Finding(
        "high" if share > MUCH else "medium",
        "training rows in the holdout",
        f"{int(twin.sum())} of {len(asked)} holdout rows, {same} of them equal, have a twin among "
        f"the training rows; {own_twin.mean():.1%} of training rows have one among themselves",
        "remove copies from the source, or split so that copies share a side: metrics on these "
        "rows are too good",
    )
    return Seen([finding], measures)


def _coded(case: Case, train: pd.DataFrame, holdout: pd.DataFrame) -> tuple[Floats, bool]:
    """All rows as points whose distance is that of their numbers, and whether one is continuous.

    Text, booleans and nulls that differ lie far apart.
    """
    both = pd.concat([train, holdout], ignore_index=True)
    points, continuous = [], False
    numbers = set(case.numeric)
    scale = np.sqrt(max(len(numbers), 1))
    rows = len(both)
    for name in case.features:
        values = both[name]
        if name in numbers:
            spread = float(train[name].std())
            column = values.to_numpy(dtype=np.float64) / (spread * scale)
            missing = np.isnan(column)
            points.append(np.where(missing, 0.0, column))
            if missing.any():
                points.append(missing * 10.0)
        elif not pd.api.types.is_numeric_dtype(values.dtype):
            points.append(pd.factorize(values)[0] * 10.0)
    # Equal rows count once: copies must not make a continuous column look discrete.
    table = np.column_stack(points) if points else np.zeros((rows, 1))
    distinct = pd.DataFrame(table).drop_duplicates()
    half = len(distinct) / 2
    continuous = any(distinct[place].nunique() > half for place in distinct)
    return table, continuous and len(distinct) >= FEWEST_ROWS


def _distinct(points: Floats) -> tuple[Floats, pd.Series]:
    counts = pd.DataFrame(points).value_counts(sort=False)
    return np.array(counts.index.to_list(), dtype=np.float64), counts


def _nearest(distinct: Floats, asked: Floats) -> tuple[np.ndarray, np.ndarray]:
    """Whether each point has a near one, and an equal one, among `distinct`."""
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(distinct).query(asked, distance_upper_bound=NEAR)
    return np.isfinite(distance), distance == 0


def _own_twin(distinct: Floats, counts: pd.Series, chosen: Floats) -> np.ndarray:
    """Whether each of the `chosen` known points has a near or equal one besides itself."""
    from scipy.spatial import cKDTree

    distance, place = cKDTree(distinct).query(chosen, k=2, distance_upper_bound=NEAR)
    copies = counts.to_numpy()[place[:, 0]] > 1
    return copies | np.isfinite(distance[:, 1])
