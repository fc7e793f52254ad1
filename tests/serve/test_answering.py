"""Requests that come together are answered together, and each as if it had come alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.answering import Answering, Asked
from mlops_pipelines.serve.log import LogError, SegmentWriter
from mlops_pipelines.serve.metrics import Metrics
from mlops_pipelines.serve.predictor import Answer, ModelError
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.segments import Prediction, read_segments

HEADER = {"schema": 1, "kind": "predictions", "model": "m", "columns": ["x"]}


class Doubling:
    """A model that doubles its one feature, fails on a negative one, and counts its calls."""

    def __init__(self, together: bool = True, seconds: float = 0.0) -> None:
        self.batch_invariant = together
        self.calls: list[int] = []
        self._seconds = seconds

    def predict_rows(self, values: Sequence[Sequence[Any]]) -> Answer:
        self.calls.append(len(values))
        time.sleep(self._seconds)
        if any(row[0] < 0 for row in values):
            raise ModelError("ValueError")
        doubled = [2.0 * row[0] for row in values]
        return Answer(doubled, doubled, None)

    def answer_golden(self, first: int | None = None) -> Answer:
        return self.predict_rows([[1.0]])


def run(
    folder: Path, model: Any, requests: list[list[float]], fsync: bool = True
) -> tuple[list[Answered | ModelError | LogError], Metrics]:
    """The outcome of each request; all of them are asked in one turn of the event loop."""
    metrics = Metrics("m", 1, "")
    writer = SegmentWriter(folder, "m-v1", HEADER, fsync)

    async def ask() -> list[Answered | ModelError | LogError]:
        answering = Answering(model, writer, metrics)
        model.calls.clear()
        outcomes = []
        for number, values in enumerate(requests):
            outcome = asyncio.get_running_loop().create_future()
            rows, now = Rows([[value] for value in values]), time.perf_counter()
            answering.ask(Asked(rows, f"r{number}", None, now, outcome.set_result))
            outcomes.append(outcome)
        return await asyncio.gather(*outcomes)

    told = asyncio.run(ask())
    writer.close()
    return told, metrics


def logged(folder: Path) -> list[Prediction]:
    return [row for segment in read_segments(folder, "predictions") for row in segment.rows]


@pytest.mark.parametrize("seconds", [0.0, 0.006])
@pytest.mark.parametrize("fsync", [True, False])
def test_requests_of_one_turn_are_one_call_and_one_group(
    tmp_path: Path, seconds: float, fsync: bool
) -> None:
    model = Doubling(seconds=seconds)
    outcomes, metrics = run(tmp_path, model, [[1.0], [2.0, 3.0], [4.0]], fsync)
    # A slow model is asked in a thread: the first alone, and what came meanwhile together.
    assert model.calls == ([4] if seconds == 0 else [1, 3])
    answers = [outcome.predictions for outcome in outcomes if isinstance(outcome, Answered)]
    assert answers == [[2.0], [4.0, 6.0], [8.0]]
    rows = logged(tmp_path)
    assert [(row.request_id, row.request_row, row.prediction) for row in rows] == [
        ("r0", 0, 2.0),
        ("r1", 0, 4.0),
        ("r1", 1, 6.0),
        ("r2", 0, 8.0),
    ]
    told = [i for outcome in outcomes if isinstance(outcome, Answered) for i in outcome.ids]
    assert [row.prediction_id for row in rows] == told
    assert metrics.rows == 4


def test_a_model_that_sums_otherwise_in_a_batch_is_asked_request_by_request(
    tmp_path: Path,
) -> None:
    model = Doubling(together=False)
    outcomes, _ = run(tmp_path, model, [[1.0], [2.0, 3.0], [4.0]])
    assert model.calls == [1, 2, 1]
    assert all(isinstance(outcome, Answered) for outcome in outcomes)


def test_a_row_that_the_model_fails_on_spoils_only_its_own_request(tmp_path: Path) -> None:
    model = Doubling()
    outcomes, metrics = run(tmp_path, model, [[1.0], [2.0, -1.0], [4.0]])
    assert [type(outcome) for outcome in outcomes] == [Answered, ModelError, Answered]
    assert [row.prediction for row in logged(tmp_path)] == [2.0, 8.0]
    assert metrics.rows == 2


def test_large_requests_are_answered_in_their_turn(tmp_path: Path) -> None:
    model = Doubling()
    large = [float(value) for value in range(2000)]
    outcomes, _ = run(tmp_path, model, [large, [1.0], large])
    assert sorted(model.calls) == [1, 2000, 2000]
    answers = [outcome.predictions for outcome in outcomes if isinstance(outcome, Answered)]
    assert answers == [[2 * value for value in large], [2.0], [2 * value for value in large]]


def test_nobody_of_a_group_is_answered_when_the_log_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.write_text("a file where the folder should be")
    outcomes, metrics = run(folder, Doubling(), [[1.0], [2.0]])
    assert [type(outcome) for outcome in outcomes] == [LogError, LogError]
    assert metrics.rows == 0
