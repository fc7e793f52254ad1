"""How little it takes somebody outside to change an answer.

HopSkipJump (Chen, Jordan & Wainwright 2020, https://arxiv.org/abs/1904.02144), of the
Adversarial Robustness Toolbox, sees nothing but answers, and looks for the smallest move of a
row's numbers that changes its answer. How far a row was moved is the largest move of any of its
columns, in standard deviations. Text, booleans and nulls stay as they are.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from mlops_pipelines.measure.outputs import Floats
from mlops_pipelines.release.security.case import Answers, Case, Numbers
from mlops_pipelines.release.security.report import Finding, Measure, Seen

ROWS_TO_CHOOSE_FROM = 2000
ATTACKED_ROWS = 20
ATTACK_SECONDS = 5.0
"""After which no further row is attacked; the report says how many were."""
MOST_QUESTIONS = 1000
"""To the model about one row, ten times what is usual: the library may search without end."""
ITERATIONS, EVALUATIONS = 5, 50
"""On a linear model these find a move within 3 % of the smallest there is."""
FEWEST_MOVES = 6
"""Below which no two of them hold the median with 95 %."""
CANDIDATES = 64
PROBES = 100
TINY = 0.02
"""A move that turns most answers and is smaller than what two digits of precision keep."""


def under_attack(case: Case, model: Answers) -> Seen:
    """The median move that changes an answer, over at most 20 holdout rows within five seconds.

    A class changes its answer where another class is predicted; a number where it moves by more
    than the model's own root mean squared error. The interval of the median is that of its order
    statistics.
    """
    if not case.numeric:
        return Seen()
    numbers = Numbers.of(case)
    rows, far = _targets(case, model)
    others = case.some(case.train, ROWS_TO_CHOOSE_FROM)
    answers = case.outputs(model, others).prediction
    if not len(rows):
        return Seen()
    found: list[float] = []
    attack = _library()
    end = time.monotonic() + ATTACK_SECONDS
    with _seeded(case.seed):
        for place in range(len(rows)):
            row = rows[case.features].iloc[[place]]
            target = _Target(model, case, numbers, row, far, end)
            smallest = attack(target, others[target.differ(answers)])
            over = time.monotonic() > end
            # A row that was given up half-way is only known where a move was found.
            if not over or np.isfinite(smallest):
                found.append(smallest)
            if over:
                break
    if not found:
        return Seen()
    moves = np.sort(found)
    median = float(np.median(moves))
    if not np.isfinite(median):
        turned = int(np.isfinite(moves).sum())
        meaning = "rows whose answer the attack could change, less than half"
        return Seen((), [Measure("attack_changed", turned / len(moves), meaning, len(moves))])
    low, high = _median_interval(moves) if len(moves) >= FEWEST_MOVES else (None, None)
    measure = Measure(
        "attack_move",
        median,
        "median move, in standard deviations of every number at most, that changes the answer",
        len(moves),
        low,
        high,
    )
    if high is None or high >= TINY:
        return Seen((), [measure])
    finding = Finding(
        "medium",
        "fragile under attack",
        f"half of {len(moves)} answers change when no number moves by more than {median:.2g} "
        "standard deviations",
        "regularize the estimator or train it with noise; do not let callers probe it at will",
    )
    return Seen([finding], [measure])


class _Target:
    """One row under attack: which moves (m, k) change its answer, and the smallest seen so far."""

    def __init__(
        self,
        model: Answers,
        case: Case,
        numbers: Numbers,
        row: pd.DataFrame,
        far: float,
        end: float,
    ) -> None:
        self._model = model
        self._case, self._numbers, self._far, self._end = case, numbers, far, end
        self._values = {name: row[name].to_numpy() for name in row}
        self._before = row[numbers.names].to_numpy(dtype=np.float64)
        self._answer = self._ask(self._values)[0]
        self._questions = 0
        self._copies: dict[int, dict[str, np.ndarray]] = {}
        self.smallest = float("inf")

    def changed(self, moves: Floats) -> np.ndarray:
        """Whether each of `moves` changes the answer; raises _OutOfTime."""
        self._questions += 1
        if time.monotonic() > self._end or self._questions > MOST_QUESTIONS:
            raise _OutOfTime
        after, came = self._numbers.reached(self._before, moves.astype(np.float64))
        # A data frame for each question costs ten times what the model does.
        columns = dict(self._repeated(len(moves)))
        for place, name in enumerate(self._numbers.names):
            columns[name] = after[:, place].astype(columns[name].dtype)
        changed = self.differ(self._ask(columns))
        if changed.any():
            self.smallest = min(self.smallest, float(np.abs(came).max(axis=1)[changed].min()))
        return changed

    def differ(self, answers: np.ndarray) -> np.ndarray:
        """Which of `answers` are other than the row's."""
        if self._case.classes:
            return np.asarray(answers != self._answer, dtype=bool)
        return np.asarray(np.abs(answers - self._answer) > self._far, dtype=bool)

    def probe(self) -> None:
        """Move by chance and hardly at all: a ragged model changes its answer at once.

        The search of the attack follows one boundary, and misses how many there are.
        """
        size = (PROBES, len(self._numbers.names))
        random = np.random.default_rng(self._case.seed)
        self.changed(random.uniform(-TINY, TINY, size))

    def start(self, others: pd.DataFrame) -> Floats | None:
        """The smallest move to the numbers of one of `others` that changes the answer."""
        if not len(others):
            return None
        names = self._numbers.names
        gap = others[names].to_numpy(dtype=np.float64) - self._before
        moves = np.nan_to_num(gap / self._numbers.spread)
        nearest = moves[np.argsort(np.abs(moves).max(axis=1), kind="stable")[:CANDIDATES]]
        works = self.changed(nearest)
        return nearest[works.argmax()] if works.any() else None

    def _repeated(self, times: int) -> dict[str, np.ndarray]:
        if times not in self._copies:
            self._copies[times] = {
                name: np.repeat(value, times) for name, value in self._values.items()
            }
        return self._copies[times]

    def _ask(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        answer = self._model.predict_columns(columns).predictions
        return np.asarray(answer, dtype=object if self._case.classes else np.float64)


class _OutOfTime(Exception):
    """The time for the attack, or for this row, is over."""


def _targets(case: Case, model: Answers) -> tuple[pd.DataFrame, float]:
    """Rows to attack, and how far a number must move to be another answer.

    As many rows of each class as there are, all answered right: a wrong answer needs no attack.
    """
    rows = case.some(case.holdout, ROWS_TO_CHOOSE_FROM)
    answers = case.outputs(model, rows).prediction
    truth = case.truth(rows)
    random = np.random.default_rng(case.seed)
    if not case.classes:
        far = float(np.sqrt(np.mean((answers - truth) ** 2)))
        chosen = random.permutation(len(rows))[:ATTACKED_ROWS]
        return rows.iloc[chosen], far
    right = np.flatnonzero(answers == truth)
    shuffled = random.permutation(right)
    turns = pd.Series(truth[shuffled]).groupby(truth[shuffled]).cumcount().to_numpy()
    chosen = shuffled[np.argsort(turns, kind="stable")[:ATTACKED_ROWS]]
    return rows.iloc[chosen], 0.0


def _library() -> Callable[[_Target, pd.DataFrame], float]:
    """The attack of one row, `(target, rows to start from) -> smallest move`; inf without one."""
    with _elsewhere(), warnings.catch_warnings():
        # It says which deep-learning libraries it does not find.
        warnings.simplefilter("ignore")
        from art.attacks.evasion import HopSkipJump
        from art.estimators.classification import BlackBoxClassifier

    def attack(target: _Target, others: pd.DataFrame) -> float:
        try:
            target.probe()
            start = target.start(others)
            if start is None:
                return target.smallest
            reach = float(np.abs(start).max())

            def answers(moves: np.ndarray) -> np.ndarray:
                changed = target.changed(moves)
                return np.stack([~changed, changed], axis=1).astype(np.float64)

            classifier = BlackBoxClassifier(answers, (len(start),), 2, clip_values=(-reach, reach))
            HopSkipJump(
                classifier,
                batch_size=4096,
                norm=np.inf,
                max_iter=ITERATIONS,
                init_eval=EVALUATIONS,
                max_eval=4 * EVALUATIONS,
                init_size=1,
                verbose=False,
            ).generate(
                np.zeros((1, len(start)), dtype=np.float32),
                x_adv_init=start[None].astype(np.float32),
            )
        except _OutOfTime:
            pass
        return target.smallest

    return attack


@contextmanager
def _elsewhere() -> Iterator[None]:
    """The library writes a settings file into the home folder when it is imported."""
    home = os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="mlops-art-") as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            if home is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = home


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The library draws from numpy's global generator."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _median_interval(ordered: Floats) -> tuple[float, float | None]:
    """95 % by order statistics (Conover 1999, 3.2); no upper end where it is no number."""
    from scipy.stats import binom

    low = int(binom.ppf(0.025, len(ordered), 0.5)) - 1
    high = float(ordered[len(ordered) - 1 - low])
    return float(ordered[low]), high if np.isfinite(high) else None
