"""A scikit-learn estimator written as an ONNX graph with the inputs that `serve` feeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from mlops_pipelines.release.imputer import shape_imputer, write_imputer
from mlops_pipelines.serve.bundle import Column
from mlops_pipelines.serve.onnx_model import EVEN

# The same version must give the same bytes, and skl2onnx would make up a name.
NAME = "model"
TREES = (
    "sklearn.tree.",
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting",
)
"""Whose splits are in floats in ONNX, and for most of them in scikit-learn too."""
PRODUCTS = {
    "Gemm",
    "LinearClassifier",
    "LinearRegressor",
    "MatMul",
    "SVMClassifier",
    "SVMRegressor",
}
"""The operators that multiply matrices; see serve/onnx_model.py."""


def graphs(estimator: Any, columns: Sequence[Column]) -> Iterator[Callable[[], bytes]]:
    """The ways to write it, each to be tried: what raises is not possible.

    A matrix of numbers is tried first, since most estimators take one, and then a column by its
    name, as pipelines pick them; either in doubles, which lose nothing, and then in floats.
    """
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    with_text = any(column.type == "string" for column in columns)
    for write in (_by_name,) if with_text else (_as_matrix, _by_name):
        for number in (DoubleTensorType, FloatTensorType):
            yield partial(write, estimator, columns, number)


def _as_matrix(estimator: Any, columns: Sequence[Column], number: Any) -> bytes:
    return _bytes(_converted(estimator, [("numbers", number([None, len(columns)]))]))


def _by_name(estimator: Any, columns: Sequence[Column], number: Any) -> bytes:
    from skl2onnx.common.data_types import StringTensorType

    kinds = [StringTensorType if column.type == "string" else number for column in columns]
    inputs = [(c.name, kind([None, 1])) for c, kind in zip(columns, kinds, strict=True)]
    model = _converted(estimator, inputs)
    # skl2onnx may change the names, and keeps their order.
    texts = [given for given, kind in zip(model.graph.input, kinds, strict=True) if kind != number]
    numbers = [
        given for given, kind in zip(model.graph.input, kinds, strict=True) if kind == number
    ]
    del model.graph.input[:]
    # Names that no column can be given, for skl2onnx leaves no dot in them.
    _split(model, "rows.texts", texts)
    _split(model, "rows.numbers", numbers)
    return _bytes(model)


def _converted(estimator: Any, inputs: list[tuple[str, Any]]) -> Any:
    from onnx import helper
    from skl2onnx import convert_sklearn
    from sklearn.impute import SimpleImputer

    knows_shares = hasattr(estimator, "predict_proba")
    rounded = _rounded_for_trees(estimator)
    model = convert_sklearn(
        rounded,
        NAME,
        inputs,
        # A table of probabilities, not a list of dictionaries.
        options={id(rounded): {"zipmap": False}} if knows_shares else None,
        custom_conversion_functions={SimpleImputer: write_imputer},
        custom_shape_calculators={SimpleImputer: shape_imputer},
    )
    # Without probabilities, what comes after the labels are scores that scikit-learn has none of.
    del model.graph.output[2 if knows_shares else 1 :]
    if PRODUCTS & {node.op_type for node in model.graph.node}:
        helper.set_model_props(model, dict([EVEN]))
    return model


def _rounded_for_trees(estimator: Any) -> Any:
    """The same pipeline, with what it prepared rounded to floats before trees see it."""
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline) or len(estimator.steps) < 2:
        return estimator
    *prepare, last = estimator.steps
    if not type(last[1]).__module__.startswith(TREES):
        return estimator
    return Pipeline([*prepare, ("rounded_for_trees", CastTransformer()), last])


def _split(model: Any, name: str, columns: list[Any]) -> None:
    """Give the graph one input `name`, of n rows, in place of those of single `columns`."""
    from onnx import helper

    if not columns:
        return
    kind, width = columns[0].type.tensor_type.elem_type, len(columns)
    model.graph.input.append(helper.make_tensor_value_info(name, kind, [None, width]))
    outputs = [column.name for column in columns]
    version = next(each.version for each in model.opset_import if not each.domain)
    if version < 13:
        node = helper.make_node("Split", [name], outputs, axis=1, split=[1] * width)
    else:
        sizes = helper.make_tensor(f"{name}.sizes", 7, [width], [1] * width)
        model.graph.initializer.append(sizes)
        node = helper.make_node("Split", [name, sizes.name], outputs, axis=1)
    model.graph.node.insert(0, node)


def _bytes(model: Any) -> bytes:
    # skl2onnx goes through a set, whose order differs from process to process.
    imports = sorted(model.opset_import, key=lambda each: str(each.domain))
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return bytes(model.SerializeToString(deterministic=True))
