"""A converted model, answered by ONNX Runtime: neither pandas nor scikit-learn is needed.

The graph has up to two inputs, told apart by their types, each rows × columns in the signature's
order: float or double for all numbers and booleans (NaN for null), string for text (never null).
Its outputs are the predictions and, where the model knows them, the probabilities.

A product of matrices takes another path for the last of an odd number of rows, which may show in
the last bit. Where a graph says that it has one, it is given an even number, so that a row is
answered alike alone and among others.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlops_pipelines.serve.bundle import Bundle, BundleError
from mlops_pipelines.serve.predictor import Answer, ModelError
from mlops_pipelines.serve.table import Table

# What such a graph says, among its metadata.
EVEN = "rows", "even"


class OnnxModel:
    """One session of ONNX Runtime, of one thread."""

    def __init__(self, meta: Bundle, graph: bytes) -> None:
        session = _session(graph)
        inputs = {given.type: given.name for given in session.get_inputs()}
        self._meta = meta
        self._numbers = [i for i, column in enumerate(meta.columns) if column.type != "string"]
        self._texts = [i for i, column in enumerate(meta.columns) if column.type == "string"]
        self._texts_name = inputs.pop("tensor(string)", "")
        self._dtype = np.float32 if "tensor(float)" in inputs else np.float64
        self._numbers_name = next(iter(inputs.values()), "")
        self._run = session.run
        name, value = EVEN
        self._even = session.get_modelmeta().custom_metadata_map.get(name) == value
        self._outputs = [output.name for output in session.get_outputs()]
        classes = meta.classes or ()
        # ONNX has no labels but strings and integers; True is found at 1, and 1.0 as well.
        self._labels = dict(zip(classes, classes, strict=True))
        self._relabelled = not all(type(label) in (int, str) for label in classes)
        self._places = {label: index for index, label in enumerate(classes)}
        self._regression = meta.task == "regression"
        self._binary = meta.task == "binary_classification"
        self._positive = 1
        if self._binary and meta.positive is not None:
            self._positive = self._places[meta.positive]

    @classmethod
    def load(cls, meta: Bundle) -> OnnxModel:
        """The model of a bundle; raises BundleError."""
        path = meta.path / "model.onnx"
        try:
            return cls(meta, path.read_bytes())
        except OSError as exc:
            raise BundleError(f"{path} cannot be read: {exc.strerror}") from exc
        except BundleError as exc:
            raise BundleError(f"{path}: {exc}") from exc
        except Exception as exc:
            raise BundleError(f"{path} cannot be loaded: {type(exc).__name__}") from exc

    def answer(self, values: Sequence[Sequence[Any]]) -> Answer:
        """Answer rows in the signature's order, None for null. Raises ModelError."""
        n = len(values)
        if self._even and n % 2:
            values = [*values, values[-1]]
        try:
            if not self._texts:
                return self._ask({self._numbers_name: np.array(values, self._dtype)}, n)
            texts = np.array([[row[i] for i in self._texts] for row in values], object)
            feed = {self._texts_name: _refuse_nulls(texts)}
            if self._numbers:
                numbers = [[row[i] for i in self._numbers] for row in values]
                feed[self._numbers_name] = np.array(numbers, self._dtype)
            return self._ask(feed, n)
        except ModelError:
            raise
        except Exception as exc:
            raise ModelError(type(exc).__name__) from exc

    def answer_columns(self, columns: Mapping[str, Any]) -> Answer:
        """Answer the rows of columns (lists, or those of a data frame). Raises ModelError."""
        names = self._meta.names
        n = len(columns[names[0]])
        feed = {}
        try:
            if self._numbers:
                numbers = [np.asarray(columns[names[i]], np.float64) for i in self._numbers]
                # What a float cannot hold is infinite to it; the answer tells whether it matters.
                with np.errstate(over="ignore"):
                    feed[self._numbers_name] = np.stack(numbers, axis=1).astype(self._dtype)
            if self._texts:
                texts = [np.asarray(columns[names[i]], object) for i in self._texts]
                feed[self._texts_name] = _refuse_nulls(np.stack(texts, axis=1))
            if self._even and n % 2:
                feed = {name: np.concatenate((rows, rows[-1:])) for name, rows in feed.items()}
            return self._ask(feed, n)
        except ModelError:
            raise
        except Exception as exc:
            raise ModelError(type(exc).__name__) from exc

    def answer_table(self, table: Table) -> Answer:
        """Answer the rows of a table. Raises ModelError."""
        if table.others:
            return self.answer_columns(dict(zip(self._meta.names, table.columns(), strict=True)))
        rows = table.numbers
        if self._even and table.n % 2:
            rows = np.concatenate((rows, rows[-1:]))
        try:
            with np.errstate(over="ignore"):
                feed = {self._numbers_name: rows.astype(self._dtype)}
            return self._ask(feed, table.n)
        except ModelError:
            raise
        except Exception as exc:
            raise ModelError(type(exc).__name__) from exc

    def _ask(self, feed: dict[str, np.ndarray[Any, Any]], n: int) -> Answer:
        """The answer to the first `n` rows of the arrays."""
        outputs = self._run(self._outputs, feed)
        predictions = outputs[0].reshape(-1)[:n].tolist()
        if self._regression:
            _refuse_infinite(predictions)
            return Answer(predictions, predictions, None)
        if self._relabelled:
            labels = self._labels
            predictions = [labels[label] for label in predictions]
        if len(outputs) == 1:
            return Answer(predictions, None, None)
        probabilities = outputs[1][:n].tolist()
        if self._binary:
            scores = outputs[1][:n, self._positive].tolist()
        else:
            places = self._places
            scores = [
                row[places[label]] for row, label in zip(probabilities, predictions, strict=True)
            ]
        _refuse_infinite(scores)
        return Answer(predictions, scores, probabilities)


def _refuse_nulls(texts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # ONNX Runtime would take None for the text "None".
    if any(type(text) is not str for text in texts.flat):
        raise TypeError("text columns hold strings only")
    return texts


def _refuse_infinite(scores: list[float]) -> None:
    # A sum is finite only if each of its terms is.
    if not math.isfinite(sum(scores)):
        raise ModelError("OverflowError")


def _session(graph: bytes) -> Any:
    # Read when it is imported; what it sets up there, disable_telemetry_events only silences.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # One row is answered faster by one thread, and a worker has a processor for itself.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena keeps what the largest request needed; small tensors are as fast without it.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # The text of a warning may quote a row.
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
