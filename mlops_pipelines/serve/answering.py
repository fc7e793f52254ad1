"""Answers the rows of many requests at once: one call of the model, one write to the log.

Requests that arrive in one turn of the event loop are answered together where that changes no bit
of any answer. A request is answered only once its rows are in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson

from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.ids import many_uuid7, uuid7
from mlops_pipelines.serve.log import LogError, SegmentWriter
from mlops_pipelines.serve.metrics import Metrics
from mlops_pipelines.serve.predictor import Answer, ModelError, Predictor
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.table import MANY_ROWS
from mlops_pipelines.serve.table_record import table_line
from mlops_pipelines.serve.times import now, written

# A model that takes longer over one row is asked in a thread.
SECONDS_IN_LOOP = 0.005
# A busy machine makes any model look slow now and then.
TRIES = 5
ROWS_AT_ONCE = 1024


@dataclass(slots=True)
class Asked:
    """A request's rows; `done` is told, in the event loop, what became of them.

    `about` is the time that the caller says its request is about, as it is logged; `started` is
    when it arrived, by `time.perf_counter`.
    """

    rows: Rows
    request_id: str
    about: str | None
    started: float
    done: Callable[[Answered | ModelError | LogError], None]


@dataclass(slots=True)
class _Outcome:
    """What became of a group of requests, and the lines of the rows that were answered."""

    answered: list[tuple[Asked, Answered]] = field(default_factory=list)
    failed: list[tuple[Asked, ModelError]] = field(default_factory=list)
    lines: bytes = b""
    rows: int = 0


class Answering:
    """Asks the model and the log for all requests of a worker."""

    def __init__(self, predictor: Predictor, log: SegmentWriter, metrics: Metrics) -> None:
        self._predictor = predictor
        self._log = log
        self._metrics = metrics
        self._together = predictor.batch_invariant
        self._fast = _seconds_for_a_row(predictor) <= SECONDS_IN_LOOP
        self._soon: list[Asked] = []
        self._later: deque[Asked] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._thread_is_busy = False

    @property
    def waiting(self) -> int:
        """How many requests wait for the model."""
        return len(self._soon) + len(self._later)

    def ask(self, asked: Asked) -> None:
        """Answer the request as soon as may be; in the event loop."""
        # Fewer rows keep the event loop no longer than a health check may wait.
        if self._fast and asked.rows.n < MANY_ROWS:
            if not self._soon:
                asyncio.get_running_loop().call_soon(self._answer_soon)
            self._soon.append(asked)
        else:
            self._later.append(asked)
            if not self._thread_is_busy:
                self._answer_later(asyncio.get_running_loop())

    def _answer_soon(self) -> None:
        group, self._soon = self._soon, []
        self._keep(self._outcome(group))

    def _answer_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the thread the next group: one large request, or several small ones."""
        group = [self._later.popleft()]
        rows = group[0].rows.n
        while (
            self._later
            and rows + self._later[0].rows.n <= ROWS_AT_ONCE
            and group[0].rows.table is self._later[0].rows.table is None
        ):
            rows += self._later[0].rows.n
            group.append(self._later.popleft())
        self._thread_is_busy = True

        def answered(future: Future[_Outcome]) -> None:
            self._thread_is_busy = False
            if self._later:
                self._answer_later(loop)
            self._keep(future.result())

        future = self._thread.submit(self._outcome, group)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(answered, done))

    def _outcome(self, group: list[Asked]) -> _Outcome:
        return _outcome(group, self._predict(group))

    def _predict(self, group: list[Asked]) -> list[Answer | ModelError]:
        """One answer for each request; the rows of one never spoil those of another."""
        if len(group) > 1 and self._together:
            try:
                together = [row for asked in group for row in asked.rows.values]
                return _apart(self._predictor.predict_rows(together), group)
            except ModelError:
                pass  # it is found out below whose rows it was
        answers: list[Answer | ModelError] = []
        for asked in group:
            try:
                answers.append(self._predicted(asked.rows))
            except ModelError as exc:
                answers.append(exc)
        return answers

    def _predicted(self, rows: Rows) -> Answer:
        if rows.table is None:
            return self._predictor.predict_rows(rows.values)
        return self._predictor.predict_table(rows.table)

    def _keep(self, outcome: _Outcome) -> None:
        """Write what was answered to the log, and tell everyone once it is there."""
        for asked, error in outcome.failed:
            asked.done(error)
        if not outcome.answered:
            return
        self._metrics.batch(outcome.rows)

        def logged(error: LogError | None) -> None:
            if error is None:
                self._metrics.rows += outcome.rows
            for asked, answered in outcome.answered:
                asked.done(error or answered)

        self._log.append(outcome.lines, logged)


def _outcome(group: list[Asked], answers: list[Answer | ModelError]) -> _Outcome:
    """What became of each request, with the lines for the log."""
    logged_at = written(now())
    finished = time.perf_counter()
    outcome = _Outcome()
    lines: list[bytes] = []
    for asked, answer in zip(group, answers, strict=True):
        if isinstance(answer, ModelError):
            outcome.failed.append((asked, answer))
            continue
        rows, predictions = asked.rows, answer.predictions
        about = asked.about or logged_at
        latency = round((finished - asked.started) * 1000, 3)
        scores, probabilities = answer.scores, answer.probabilities
        if rows.table is not None:
            ids = rows.prediction_ids or many_uuid7(rows.n)
            answered = Answered(predictions, scores, probabilities, ids)
            times = about, logged_at
            lines.append(table_line(asked.request_id, times, latency, rows.table, answered))
        else:
            ids = rows.prediction_ids or [uuid7() for _ in rows.values]
            for index, features in enumerate(rows.values):
                # The fields of segments.Prediction, in its order.
                fields = (
                    ids[index],
                    asked.request_id,
                    index,
                    about,
                    logged_at,
                    predictions[index],
                    None if scores is None else scores[index],
                    None if probabilities is None else probabilities[index],
                    latency,
                    features,
                )
                lines.append(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE))
            answered = Answered(predictions, scores, probabilities, ids)
        outcome.answered.append((asked, answered))
        outcome.rows += rows.n
    outcome.lines = b"".join(lines)
    return outcome


def _apart(whole: Answer, group: list[Asked]) -> list[Answer | ModelError]:
    """An answer to all rows of a group, request by request."""
    answers: list[Answer | ModelError] = []
    start = 0
    for asked in group:
        rows = slice(start, start := start + asked.rows.n)
        answers.append(
            Answer(
                whole.predictions[rows],
                None if whole.scores is None else whole.scores[rows],
                None if whole.probabilities is None else whole.probabilities[rows],
            )
        )
    return answers


def _seconds_for_a_row(predictor: Predictor) -> float:
    """How long the model takes over one golden row, once it is warm and nothing disturbs it."""
    taken = []
    try:
        predictor.answer_golden(1)
        for _ in range(TRIES):
            started = time.perf_counter()
            predictor.answer_golden(1)
            taken.append(time.perf_counter() - started)
    except ModelError:
        return 0.0
    return min(taken)
