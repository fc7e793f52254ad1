"""What a request is told, once its rows are in the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Answered:
    """A request's answer, in the log: one prediction and one id for each of its rows."""

    predictions: list[object]
    scores: list[float] | None
    probabilities: list[list[float]] | None
    ids: list[str]
