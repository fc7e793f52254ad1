"""The ONNX session that all peers share: the bundle's own model file, one thread."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FILES = Path(os.environ["BENCH_FILES"])
Score = Callable[[Any], Any]


def open_onnx() -> Score:
    """A function from rows × features to P(positive class) of each row."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        FILES / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    inputs = session.get_inputs()
    numbers = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    types = [numbers[one.type] for one in inputs]
    # The probabilities are the output of rows × classes.
    output = next(one.name for one in session.get_outputs() if len(one.shape) == 2)
    if len(inputs) == 1:
        name, kind = inputs[0].name, types[0]

        def probabilities(rows: Any) -> Any:
            return session.run([output], {name: np.asarray(rows, kind)})[0][:, 1]

    else:
        names = [one.name for one in inputs]

        def probabilities(rows: Any) -> Any:
            columns = np.asarray(rows).T
            typed = zip(names, columns, types, strict=True)
            feeds = {name: column.reshape(-1, 1).astype(kind) for name, column, kind in typed}
            return session.run([output], feeds)[0][:, 1]

    return probabilities


def open_sklearn() -> Score:
    """The same function by the scikit-learn model."""
    import joblib

    model = joblib.load(FILES / "model.joblib")
    return lambda rows: model.predict_proba(np.asarray(rows))[:, 1]


def open_model(runtime: str) -> Score:
    """The function by this runtime: onnx or sklearn."""
    return {"onnx": open_onnx, "sklearn": open_sklearn}[runtime]()
