"""One typical row, and what the model answers to it: for documentation, nobody's own data."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import Any

from mlops_pipelines.serve.bundle import Bundle, BundleError, Column, read_json
from mlops_pipelines.serve.predictor import Answer, ModelError, Predictor

PROFILE = "reference_profile.json"
DIGITS = 4
# A value that was seen but once or twice may be somebody's name.
SEEN_OFTEN = 5
PLAIN = {"double": 0.0, "long": 0, "string": "text", "boolean": False}


class Examples:
    """The example row of one bundle and its answer, each made when it is first asked for."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def runtime(self) -> str:
        """What answers: onnxruntime or scikit-learn."""
        return self._predictor.runtime

    @cached_property
    def row(self) -> list[Any]:
        """A typical value of each feature, in the signature's order.

        Numbers are about the median of the training rows, all else is the commonest level; taken
        from counts, column by column, so that the row as a whole is nobody's.
        """
        meta = self._predictor.meta
        profiles = _profiles(meta)
        return [_typical(column, profiles.get(column.name)) for column in meta.columns]

    @cached_property
    def answer(self) -> Answer | None:
        """The model's answer to the row; None where it fails on it."""
        try:
            return self._predictor.predict_rows([self.row])
        except ModelError:
            return None


def _profiles(meta: Bundle) -> dict[str, dict[str, Any]]:
    """The profile of each column by its name; none where the bundle has no profile."""
    try:
        return {profile["name"]: profile for profile in read_json(meta.path, PROFILE)["columns"]}
    except (BundleError, KeyError, TypeError):
        return {}


def _typical(column: Column, profile: dict[str, Any] | None) -> Any:
    if profile is None:
        value = PLAIN[column.type]
    elif profile["kind"] == "numeric":
        value = _typed(column, _median(profile["edges"], profile["counts"]))
    else:
        value = _commonest(column, profile["levels"], profile["counts"])
    if column.levels is not None and value not in column.levels:
        return column.levels[0]
    return value


def _median(edges: list[float], counts: list[int]) -> float:
    """The lower edge of the bin with the median: a value that occurs, also where they are few."""
    inside = counts[1 : len(edges)]
    half = sum(inside) / 2
    reached = enumerate(accumulate(inside))
    return edges[next((index for index, seen in reached if seen > half), 0)]


def _commonest(column: Column, levels: list[str], counts: list[int]) -> Any:
    count, level = max(zip(counts, levels, strict=False), default=(0, ""))
    if count >= SEEN_OFTEN:
        return _typed(column, level)
    return None if column.nullable else PLAIN[column.type]


def _typed(column: Column, value: Any) -> Any:
    """A number or the text of a level as the column's type."""
    if column.type == "boolean":
        # A profile writes true as 1.
        return value in (1, "1", "True")
    if column.type == "string":
        return value
    return round(float(value)) if column.type == "long" else float(f"{float(value):.{DIGITS}g}")
