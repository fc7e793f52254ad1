"""A SimpleImputer written as ONNX nodes, in doubles too and with its indicator of nulls.

skl2onnx's own knows neither; the functions are called by it, as its page on custom converters says:
https://onnx.ai/sklearn-onnx/auto_tutorial/plot_icustom_converter.html
"""

from __future__ import annotations

from typing import Any

import numpy as np


def shape_imputer(operator: Any) -> None:
    """Say how many columns come out: all, and one more for each that had nulls in training."""
    imputer = operator.raw_operator
    kind = type(operator.inputs[0].type)
    width = len(imputer.statistics_) + len(_flagged(imputer))
    operator.outputs[0].type = kind([None, width])


def write_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes; raises NotImplementedError where nulls are no NaN, or all of a column."""
    from onnx import TensorProto
    from skl2onnx.common.data_types import guess_proto_type

    imputer = operator.raw_operator
    number = guess_proto_type(operator.inputs[0].type)
    statistics = np.asarray(imputer.statistics_)
    if number not in (TensorProto.FLOAT, TensorProto.DOUBLE) or statistics.dtype.kind != "f":
        raise NotImplementedError("only numbers are imputed")
    if not np.isnan(imputer.missing_values) or np.isnan(statistics).any():
        raise NotImplementedError("only NaN is imputed, in columns that have other values")

    def add(kind: str, *inputs: str, **attributes: Any) -> str:
        output: str = scope.get_unique_variable_name(f"imputer_{kind}")
        name = scope.get_unique_operator_name(kind)
        container.add_node(kind, list(inputs), output, name=name, **attributes)
        return output

    def constant(name: str, kind: int, values: Any) -> str:
        given: str = scope.get_unique_variable_name(f"imputer_{name}")
        container.add_initializer(given, kind, list(values.shape), values.reshape(-1).tolist())
        return given

    columns = [given.full_name for given in operator.inputs]
    rows = columns[0] if len(columns) == 1 else add("Concat", *columns, axis=1, op_version=13)
    missing = add("IsNaN", rows, op_version=13)
    values = constant("values", number, statistics.reshape(1, -1))
    filled = add("Where", missing, values, rows, op_version=9)
    flagged = _flagged(imputer)
    if len(flagged):
        places = constant("flagged", TensorProto.INT64, flagged)
        flags = add("Gather", missing, places, axis=1, op_version=13)
        filled = add("Concat", filled, add("Cast", flags, to=number, op_version=13), axis=1)
    container.add_node("Identity", filled, operator.outputs[0].full_name, op_version=13)


def _flagged(imputer: Any) -> np.ndarray[Any, Any]:
    """The places of the columns whose nulls are told by a column of their own."""
    if not imputer.add_indicator:
        return np.array([], dtype=np.int64)
    return np.asarray(imputer.indicator_.features_, dtype=np.int64)
