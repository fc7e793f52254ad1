"""Logged rows asked again, of a challenger and of the champion side by side."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlops_pipelines.release.logged import Logged
from mlops_pipelines.release.private_worker import PrivateWorker, private_workers
from mlops_pipelines.serve.bundle import Bundle, read_bundle

CALLERS = 2
"""So many ask at one time, each over one connection per version."""

SAME = 0.1
"""Two numbers agree where they differ by at most so much of the champion's standard deviation."""


@dataclass(frozen=True)
class Latency:
    """Percentiles of milliseconds per request."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency | None:
        """Those of n values; None for none."""
        if not milliseconds:
            return None
        return cls(*(round(float(p), 3) for p in np.percentile(milliseconds, (50, 95, 99))))


@dataclass(frozen=True)
class Replay:
    """How a challenger answered `rows` logged rows, beside the champion where there is one.

    `not_comparable` more rows lack a column that one of them takes, and were not asked. `errors`
    counts by kind what the challenger alone did not answer; what the champion did not answer
    either is in `unanswered`. Of `compared` rows that both answered `differing` had another
    prediction (numbers: further apart than SAME); differences are those of the scores.
    `champion_latency` is that of the same rows asked now, `logged_latency` that of production.
    """

    rows: int
    champion: int | None
    not_comparable: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    unanswered: int = 0
    latency: Latency | None = None
    champion_latency: Latency | None = None
    logged_latency: Latency | None = None
    compared: int = 0
    differing: int = 0
    mean_difference: float | None = None
    largest_difference: float | None = None
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """How many rows the challenger alone did not answer."""
        return sum(self.errors.values())

    @property
    def agreement(self) -> float | None:
        """The share of rows that both answered alike; None where there are none."""
        return 1 - self.differing / self.compared if self.compared else None


@dataclass(frozen=True)
class _Answer:
    """One row's: its prediction and score, or the `error` instead."""

    prediction: Any = None
    score: float | None = None
    milliseconds: float = 0.0
    error: str = ""


def replay(rows: Sequence[Logged], challenger: Path, champion: Path | None) -> Replay:
    """Ask both bundles each row, in turns, and compare their answers.

    They run as they would in production, take no traffic, and keep no log. Raises TargetError
    where one does not start.
    """
    started = time.monotonic()
    bundles = [read_bundle(folder) for folder in (challenger, champion) if folder is not None]
    asked = [row for row in rows if _has(row, bundles)]
    answers: list[tuple[_Answer, ...]] = []
    if asked:
        with private_workers(*(bundle.path for bundle in bundles)) as workers:
            answers = _ask(asked, list(zip(workers, bundles, strict=True)))
    return _compared(
        answers,
        asked,
        numeric=bundles[0].classes is None,
        champion=bundles[1].version if champion is not None else None,
        not_comparable=len(rows) - len(asked),
        seconds=round(time.monotonic() - started, 3),
    )


def replay_beside_log(rows: Sequence[Logged], challenger: Path) -> Replay:
    """Ask the challenger alone, and compare its answers with those in the log.

    The rows are of one version, the champion. Raises TargetError where the bundle does not start.
    """
    started = time.monotonic()
    bundle = read_bundle(challenger)
    asked = [row for row in rows if _has(row, [bundle])]
    answers: list[tuple[_Answer, ...]] = []
    if asked:
        with private_workers(challenger) as workers:
            answers = _ask(asked, [(workers[0], bundle)])
    logged = (_Answer(row.prediction, row.score, row.latency_ms) for row in asked)
    return _compared(
        [(*answer, then) for answer, then in zip(answers, logged, strict=True)],
        asked,
        numeric=bundle.classes is None,
        champion=rows[0].version if rows else None,
        not_comparable=len(rows) - len(asked),
        seconds=round(time.monotonic() - started, 3),
    )


def _has(row: Logged, bundles: Iterable[Bundle]) -> bool:
    return all(name in row.features for bundle in bundles for name in bundle.names)


def _ask(
    rows: Sequence[Logged], sides: Sequence[tuple[PrivateWorker, Bundle]]
) -> list[tuple[_Answer, ...]]:
    """For each row the answer of each side; who is asked first changes from row to row."""

    def call(mine: range) -> list[tuple[_Answer, ...]]:
        with ExitStack() as stack:
            lines = [
                (stack.enter_context(closing(worker.connect())), bundle) for worker, bundle in sides
            ]
            _ask_all(lines, rows[mine[0]], 0)  # the first request opens the connections
            return [_ask_all(lines, rows[index], index % 2) for index in mine]

    parts = [part for n in range(CALLERS) if (part := range(n, len(rows), CALLERS))]
    with ThreadPoolExecutor(CALLERS) as pool:
        found = list(pool.map(call, parts))
    answers: list[tuple[_Answer, ...]] = [()] * len(rows)
    for part, given in zip(parts, found, strict=True):
        for index, answer in zip(part, given, strict=True):
            answers[index] = answer
    return answers


def _ask_all(
    lines: Sequence[tuple[http.client.HTTPConnection, Bundle]], row: Logged, first: int
) -> tuple[_Answer, ...]:
    """Each side's answer; where `first` is 1, the second is asked before the first."""
    order = range(len(lines))
    found = {side: _one(*lines[side], row) for side in (reversed(order) if first else order)}
    return tuple(found[side] for side in order)


def _one(connection: http.client.HTTPConnection, bundle: Bundle, row: Logged) -> _Answer:
    values = [row.features[name] for name in bundle.names]
    body = json.dumps({"dataframe_split": {"columns": bundle.names, "data": [values]}}).encode()
    began = time.perf_counter()
    try:
        connection.request("POST", "/invocations", body, {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        milliseconds = (time.perf_counter() - began) * 1000
        if response.status != 200:
            return _Answer(error=f"answered {response.status}")
        said = json.loads(content)
        return _Answer(said["predictions"][0], (said.get("scores") or [None])[0], milliseconds)
    except TimeoutError:
        connection.close()
        return _Answer(error="took too long")
    except (OSError, http.client.HTTPException, ValueError, LookupError):
        connection.close()
        return _Answer(error="no answer")


def _compared(
    answers: Sequence[tuple[_Answer, ...]],
    asked: Sequence[Logged],
    *,
    numeric: bool,
    champion: int | None,
    not_comparable: int,
    seconds: float,
) -> Replay:
    mine = [answer[0] for answer in answers]
    beside = [answer[1] for answer in answers if len(answer) > 1]
    unanswered = [bool(other.error) for other in beside] or [False] * len(mine)
    errors = Counter(
        one.error for one, other in zip(mine, unanswered, strict=True) if one.error and not other
    )
    pairs = [(one, other) for one, other in zip(mine, beside, strict=bool(beside)) if not one.error]
    both = [(one, other) for one, other in pairs if not other.error]
    apart = [
        abs(one.score - other.score)
        for one, other in both
        if one.score is not None and other.score is not None
    ]
    return Replay(
        rows=len(asked),
        champion=champion,
        not_comparable=not_comparable,
        errors=dict(sorted(errors.items())),
        unanswered=sum(unanswered),
        latency=Latency.of([one.milliseconds for one in mine if not one.error]),
        champion_latency=Latency.of([one.milliseconds for one in beside if not one.error]),
        logged_latency=Latency.of([row.latency_ms for row in asked if row.version == champion]),
        compared=len(both),
        differing=_differing(both, numeric),
        mean_difference=float(np.mean(apart)) if apart else None,
        largest_difference=float(max(apart)) if apart else None,
        seconds=seconds,
    )


def _differing(both: Sequence[tuple[_Answer, _Answer]], numeric: bool) -> int:
    if not numeric or not both:
        return sum(one.prediction != other.prediction for one, other in both)
    theirs = np.array([other.prediction for _, other in both], dtype=np.float64)
    apart = np.abs(np.array([one.prediction for one, _ in both], dtype=np.float64) - theirs)
    return int(np.sum(apart > max(SAME * float(np.std(theirs)), 1e-9)))
