"""How wrong a regression will be on a row: a sum of what each column's cell adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_pipelines.measure.codes import cell_codes
from mlops_pipelines.measure.outputs import Codes, Floats
from mlops_pipelines.measure.profile import ColumnProfile, Profile

_PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, float("inf"))
_ROUNDS = 4
_FOLDS = 5
_MOST_COLUMNS = 30
_DIGITS = 7


@dataclass(frozen=True)
class ColumnLoss:
    """What each cell of a column (in the order of `cells.counts`) adds to the expected loss."""

    cells: ColumnProfile
    effects: tuple[float, ...]


@dataclass(frozen=True)
class AdditiveLoss:
    """The expected loss of a row: `base` and the effects of its cells, never below zero.

    `relative_variance` is the variance of the loss in units of its expected square; `rows` are
    those that it was fitted on, `standard_error` is that of their mean.
    """

    base: float
    columns: tuple[ColumnLoss, ...]
    relative_variance: float
    rows: int
    standard_error: float

    def __call__(self, frame: pd.DataFrame) -> Floats:
        """The expected loss (n,) of the rows of `frame`, in the unit of the loss."""
        total = np.full(len(frame), self.base)
        codes = cell_codes(frame, Profile(0, tuple(column.cells for column in self.columns)))
        for place, column in enumerate(self.columns):
            total += np.asarray(column.effects)[codes[:, place]]
        return np.maximum(total, 0.0)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value; `from_json` reads it back."""
        return {
            "base": self.base,
            "relative_variance": self.relative_variance,
            "rows": self.rows,
            "standard_error": self.standard_error,
            "columns": [
                {
                    "name": each.cells.name,
                    "kind": each.cells.kind,
                    "edges": list(each.cells.edges),
                    "levels": list(each.cells.levels),
                    "effects": [float(f"{effect:.{_DIGITS}g}") for effect in each.effects],
                }
                for each in self.columns
            ],
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> AdditiveLoss:
        """The model that `to_json` wrote down."""
        columns = tuple(
            ColumnLoss(
                ColumnProfile(
                    name=each["name"],
                    kind=each["kind"],
                    edges=tuple(each["edges"]),
                    levels=tuple(each["levels"]),
                    counts=(0,) * len(each["effects"]),
                    total=0.0,
                ),
                tuple(each["effects"]),
            )
            for each in found["columns"]
        )
        return cls(
            found["base"],
            columns,
            found["relative_variance"],
            found["rows"],
            found["standard_error"],
        )


def fit_loss(
    frame: pd.DataFrame, columns: Sequence[ColumnProfile], loss: Floats, seed: int = 0
) -> AdditiveLoss:
    """Fit to the loss (n,) of rows that the judged model has not learned from.

    Backfitting (Hastie & Tibshirani 1990) over the cells of the reference profile, each effect
    shrunk towards zero by rows it does not have (ridge); how many is chosen by cross-validation,
    and none of the columns counts where they do not help. With more than 30 columns, the 30 whose
    cells explain the loss best alone.
    """
    found = cell_codes(frame, Profile(0, tuple(columns)))
    codes = [found[:, place].astype(np.int64) for place in range(len(columns))]
    sizes = [len(column.counts) for column in columns]
    base = float(loss.mean())
    best = _most_telling(codes, sizes, loss - base)
    codes, sizes = [codes[place] for place in best], [sizes[place] for place in best]
    penalty = _penalty(codes, sizes, loss, seed)
    effects = _backfit(codes, sizes, loss - base, penalty)
    expected = np.maximum(base + _sum(effects, codes, len(loss)), 0.0)
    square = float((expected**2).mean())
    fitted = tuple(
        ColumnLoss(columns[place], tuple(effect.tolist()))
        for place, effect in zip(best, effects, strict=True)
        if np.isfinite(penalty)
    )
    return AdditiveLoss(
        base,
        fitted,
        float(((loss - expected) ** 2).mean() / square) if square else 0.0,
        len(loss),
        float(loss.std() / np.sqrt(len(loss))),
    )


def _most_telling(codes: Sequence[Codes], sizes: Sequence[int], residual: Floats) -> list[int]:
    gains = []
    for code, size in zip(codes, sizes, strict=True):
        sums, counts = np.bincount(code, residual, size), np.bincount(code, minlength=size)
        # Chance alone explains about one variance per cell.
        gains.append(float((sums**2 / np.maximum(counts, 1)).sum() - (counts > 0).sum()))
    order = np.argsort(-np.asarray(gains), kind="stable")[:_MOST_COLUMNS]
    return sorted(order.tolist())


def _penalty(codes: Sequence[Codes], sizes: Sequence[int], loss: Floats, seed: int) -> float:
    fold = np.random.default_rng(seed).permutation(len(loss)) % _FOLDS
    errors = np.zeros(len(_PENALTIES))
    for left_out in range(_FOLDS):
        learn, test = fold != left_out, fold == left_out
        if not learn.any() or not test.any():
            return float("inf")
        base = float(loss[learn].mean())
        inside, outside = [code[learn] for code in codes], [code[test] for code in codes]
        for place, penalty in enumerate(_PENALTIES):
            effects = _backfit(inside, sizes, loss[learn] - base, penalty)
            wrong = loss[test] - base - _sum(effects, outside, int(test.sum()))
            errors[place] += float(wrong @ wrong)
    return _PENALTIES[int(errors.argmin())]


def _backfit(
    codes: Sequence[Codes], sizes: Sequence[int], target: Floats, penalty: float
) -> list[Floats]:
    effects = [np.zeros(size) for size in sizes]
    if not np.isfinite(penalty):
        return effects
    residual = target.copy()
    shrunk = [
        np.bincount(code, minlength=size) + penalty for code, size in zip(codes, sizes, strict=True)
    ]
    for _ in range(_ROUNDS):
        for place, code in enumerate(codes):
            residual += effects[place][code]
            effects[place] = np.bincount(code, residual, sizes[place]) / shrunk[place]
            residual -= effects[place][code]
    return effects


def _sum(effects: Sequence[Floats], codes: Sequence[Codes], n: int) -> Floats:
    total = np.zeros(n)
    for effect, code in zip(effects, codes, strict=True):
        total += effect[code]
    return total
