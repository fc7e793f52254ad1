"""The pictures of a training: how good the model is on the holdout, and how it learned."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlops_pipelines.measure.curves import calibration_curve, confusion_matrix, roc_curve
from mlops_pipelines.measure.outputs import Outputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _RED, _GREY = "#1f5fa8", "#c0392b", "#888888"
_SHOWN_CLASSES = 12
_SHOWN_ROWS = 2000


def pictures(
    task: str,
    truth: np.ndarray,
    outputs: Outputs,
    classes: Sequence[Hashable] | None,
    curves: Mapping[str, Sequence[float]],
) -> dict[str, Figure]:
    """Figures by name; of two classes, the last is the positive one.

    confusion_matrix, roc_curve and calibration for classes; predicted_against_true and residuals
    for numbers; learning_curve where there is one. What is undefined on these rows is left out.
    """
    drawn: dict[str, Figure] = {}
    if task == "regression":
        drawn["predicted_against_true"] = _predicted(truth, outputs)
        drawn["residuals"] = _residuals(truth, outputs)
    else:
        named = list(classes or ())
        drawn["confusion_matrix"] = _confusion(truth, outputs, named)
        if outputs.score is not None:
            present = [label for label in named if 0 < int((truth == label).sum()) < len(truth)]
            shown = [label for label in present if len(named) > 2 or label == named[-1]]
            if shown:
                drawn["roc_curve"] = _roc(truth, outputs, named, shown[:_SHOWN_CLASSES])
            drawn["calibration"] = _calibration(truth, outputs, named)
    if curves:
        drawn["learning_curve"] = _learning(curves)
    return drawn


def png(figure: Figure) -> bytes:
    """`figure` as a PNG on white."""
    from io import BytesIO

    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=90, facecolor="white")
    return stream.getvalue()


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    # A Figure of its own needs no pyplot, and so no display and no state of the process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _confusion(truth: np.ndarray, outputs: Outputs, classes: list[Hashable]) -> Figure:
    counts = np.asarray(confusion_matrix(truth, outputs, classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    title = f"Confusion matrix, {len(truth)} held-out rows"
    figure, axes = _axes(title, "predicted", "true")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= _SHOWN_CLASSES:
        names = [str(label)[:16] for label in classes]
        axes.set_xticks(range(len(names)), names, rotation=0 if len(names) < 5 else 45)
        axes.set_yticks(range(len(names)), names)
        for row, column in np.ndindex(*counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    return figure


def _roc(
    truth: np.ndarray, outputs: Outputs, classes: list[Hashable], shown: list[Hashable]
) -> Figure:
    figure, axes = _axes("ROC curve, held-out rows", "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    for label in shown:
        curve = roc_curve(truth, outputs, classes, of=label)
        color = _BLUE if len(shown) == 1 else None
        name = f"{str(label)[:16]} against the rest" if len(classes) > 2 else f"positive: {label}"
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=color, label=name)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _calibration(truth: np.ndarray, outputs: Outputs, classes: list[Hashable]) -> Figure:
    curve = calibration_curve(truth, outputs, classes)
    figure, axes = _axes("Calibration, held-out rows", "claimed probability", "observed share")
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    axes.plot(curve.claimed, curve.observed, color=_BLUE, marker="o", markersize=4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return figure


def _predicted(truth: np.ndarray, outputs: Outputs) -> Figure:
    rows = _some(len(truth))
    figure, axes = _axes("Predicted against true, held-out rows", "true", "predicted")
    low = min(truth.min(), outputs.prediction.min())
    high = max(truth.max(), outputs.prediction.max())
    axes.plot([low, high], [low, high], color=_GREY, linewidth=1, linestyle="--")
    axes.scatter(truth[rows], outputs.prediction[rows], s=10, alpha=0.6, color=_BLUE)
    return figure


def _residuals(truth: np.ndarray, outputs: Outputs) -> Figure:
    figure, axes = _axes("Residuals, held-out rows", "predicted minus true", "rows")
    axes.hist(outputs.prediction - truth, bins=40, color=_BLUE)
    axes.axvline(0, color=_GREY, linewidth=1, linestyle="--")
    return figure


def _learning(curves: Mapping[str, Sequence[float]]) -> Figure:
    figure, axes = _axes("Learning curve", "iteration", "")
    for name, values in curves.items():
        color = _RED if name.startswith("validation") else _BLUE
        axes.plot(range(len(values)), values, color=color, label=name.replace("_", " "))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _some(rows: int) -> np.ndarray:
    return np.unique(np.linspace(0, rows - 1, min(rows, _SHOWN_ROWS)).round().astype(int))
