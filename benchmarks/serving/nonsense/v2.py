"""Tensors of the Open Inference Protocol that are none."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.serving.nonsense.source import Source

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1.5, "", "x", [], [[]], {}, [None], [-1, 30], [30], [0, 30],
    [10**12, 30], ["1", "30"], [1, 30, 1], "BYTES", "FP16", "INT64", "BOOL", "fp64",
    [1, [2]], ["x"] * 30, [1e999] * 30, [1] * 29, [1] * 31,
)  # fmt: skip


def _tensor(s: Source) -> dict[str, object]:
    row = s.pick(s.rows)
    return {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}


def v2(s: Source) -> bytes:
    tensor = _tensor(s)
    where = s.pick(("name", "shape", "datatype", "data", "parameters"))
    tensor[where] = s.pick(ODD)
    if s.random.random() < 0.3:
        del tensor[where]
    path = s.pick(("/v2/models/{}/infer", "/v2/models/{}/versions/1/infer"))
    return s.post(json.dumps({"inputs": [tensor]}), path=path.format(s.model))


def v2_frame(s: Source) -> bytes:
    odd: tuple[Any, ...] = (None, 1, "x", [], {}, [[]], [1], [{}], [None], [_tensor(s)] * 3,
           {"rows": _tensor(s)})  # fmt: skip
    documents: tuple[Any, ...] = (
        {"inputs": s.pick(odd)},
        {"id": s.pick((1, [], "x" * 9000)), "inputs": [_tensor(s)]},
        {"inputs": [_tensor(s)], "outputs": s.pick(odd)},
        {"inputs": [_tensor(s)], "parameters": s.pick(odd)},
        {"inputs": [{"name": c, "shape": [1], "datatype": "FP64", "data": [1.0, 2.0]}
                    for c in s.columns]},
        s.pick(odd),
    )  # fmt: skip
    more = s.pick(
        ("", "", "inference-header-content-length: 5\r\n", "inference-header-content-length: x\r\n",
         "inference-header-content-length: -1\r\n")
    )  # fmt: skip
    path = f"/v2/models/{s.model}/infer"
    return s.post(json.dumps(s.pick(documents)), path=path, more=more)
