"""The input tensors of the Open Inference Protocol: JSON, or binary after the JSON.

https://github.com/kserve/open-inference-protocol (inference_rest.md), and its binary tensor data
extension (little-endian, row-major; BYTES as a 4-byte length and that many bytes each).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mlops_pipelines.serve.bundle import Column
from mlops_pipelines.serve.signature import BadRequest, Mistakes, names_of, quoted

WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
REAL = ("FP16", "FP32", "FP64")
DTYPES = {
    f"{kind}{bits}": np.dtype(f"<{letter}{bits // 8}")
    for kind, letter in (("INT", "i"), ("UINT", "u"))
    for bits in (8, 16, 32, 64)
}
DTYPES |= {f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)}
DTYPES |= {"BOOL": np.dtype("u1")}
# Which datatypes a column takes, by its type; the first is what the model's metadata names.
TAKES = {
    "double": ("FP64", "FP32", "FP16", *WHOLE),
    "long": ("INT64", *(name for name in WHOLE if name != "INT64"), *REAL),
    "string": ("BYTES",),
    "boolean": ("BOOL",),
}
DATATYPES = ("BOOL", *WHOLE, *REAL, "BYTES")
RANGES = {
    name: (int(np.iinfo(DTYPES[name]).min), int(np.iinfo(DTYPES[name]).max)) for name in WHOLE
}
BYTES_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input tensor of n rows; exactly one of `data` (JSON) and `raw` (binary) is there."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | None
    raw: memoryview | None

    @property
    def n(self) -> int:
        """How many rows."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """How many values each row has."""
        return self.shape[1] if len(self.shape) == 2 else 1

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.n * self.width

    def refused(self, why: str) -> BadRequest:
        """What to raise where this tensor cannot be taken."""
        return _refused(self.name, why)


def read_tensors(inputs: list[Any], binary: memoryview | None) -> list[Tensor]:
    """The tensors of a request, each with its part of what follows the JSON. Raises BadRequest.

    Their values are not looked at yet.
    """
    tensors = []
    at = 0
    for index, said in enumerate(inputs):
        tensor = _tensor(index, said, None if binary is None else binary[at:])
        at += 0 if tensor.raw is None else len(tensor.raw)
        tensors.append(tensor)
    if binary is not None and at != len(binary):
        raise BadRequest(
            400, f"{len(binary)} bytes follow the JSON, but binary_data_size accounts for {at}"
        )
    return tensors


def _tensor(index: int, said: Any, binary: memoryview | None) -> Tensor:
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise BadRequest(400, f"inputs: {index}: expected an object with name, shape, datatype")
    name, datatype, shape = said["name"], said.get("datatype"), said.get("shape")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        found = f", found {quoted(datatype)}" if isinstance(datatype, str) else ""
        raise _refused(name, f"datatype: expected one of {', '.join(DATATYPES)}{found}")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 2
        or not all(type(length) is int and length > 0 for length in shape)
    ):
        raise _refused(name, "shape: expected [rows] or [rows, columns], whole numbers from 1 on")
    parameters, data = said.get("parameters"), said.get("data")
    if parameters is not None and not isinstance(parameters, dict):
        raise _refused(name, "parameters: expected an object")
    length = (parameters or {}).get("binary_data_size")
    if (data is None) == (length is None):
        found = "neither" if data is None else "both"
        raise _refused(name, f"expected data or parameters.binary_data_size, found {found}")
    if length is None:
        if not isinstance(data, list):
            raise _refused(name, "data: expected an array")
        return Tensor(name, datatype, tuple(shape), data, None)
    if binary is None:
        raise _refused(
            name, "binary_data_size, but no header Inference-Header-Content-Length was sent"
        )
    if type(length) is not int or not 0 <= length <= len(binary):
        left = f"of the {len(binary)} that are left"
        raise _refused(name, f"binary_data_size: expected a whole number of bytes {left}")
    return Tensor(name, datatype, tuple(shape), None, binary[:length])


def _refused(name: str, why: str) -> BadRequest:
    return BadRequest(400, f"tensor {quoted(name)}: {why}")


def flat_values(tensor: Tensor, columns: Sequence[Column], mistakes: Mistakes) -> list[Any]:
    """The tensor's values, row by row, `columns` being what they are in each row.

    Whether a value fits its datatype is checked, not whether it fits its column. A binary NaN is
    None where the column may be null, and a mistake where not; a JSON number keeps its digits,
    also where FP32 has fewer. Raises BadRequest.
    """
    for column in columns:
        if tensor.datatype not in TAKES[column.type]:
            raise tensor.refused(
                f"datatype {tensor.datatype}, but column {quoted(column.name)} is a {column.type}: "
                f"allowed are {', '.join(TAKES[column.type])}"
            )
    if tensor.raw is None:
        values = json_values(tensor)
        if tensor.datatype in RANGES:
            _check_whole(tensor.datatype, values, columns, mistakes)
        return values
    if tensor.datatype == "BYTES":
        return _strings(tensor, tensor.raw, columns, mistakes)
    dtype = DTYPES[tensor.datatype]
    if len(tensor.raw) != tensor.size * dtype.itemsize:
        raise tensor.refused(
            f"shape {list(tensor.shape)} of {tensor.datatype} takes "
            f"{tensor.size * dtype.itemsize} bytes, binary_data_size is {len(tensor.raw)}"
        )
    array = np.frombuffer(tensor.raw, dtype)
    if tensor.datatype == "BOOL":
        for cell in np.flatnonzero(array > 1).tolist():
            mistakes.add(f"{_where(cell, columns)}: expected a byte of 0 or 1, found another")
        return (array == 1).tolist()
    if tensor.datatype in WHOLE:
        doubles = all(column.type == "double" for column in columns)
        return (array.astype(float) if doubles else array).tolist()
    values = array.astype(float).tolist()
    # A sum is finite only if each of its terms is.
    if math.isfinite(sum(values)):
        return values
    for cell in np.flatnonzero(np.isnan(array)).tolist():
        if columns[cell % len(columns)].nullable:
            values[cell] = None
        else:
            mistakes.add(f"{_where(cell, columns)}: expected a finite number, found NaN")
    return values


def matrix(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The doubles (n × width) of a binary tensor of numbers; None where it is not just that."""
    if tensor.raw is None or tensor.datatype not in (*REAL, *WHOLE):
        return None
    dtype = DTYPES[tensor.datatype]
    if len(tensor.raw) != tensor.size * dtype.itemsize:
        return None
    return np.frombuffer(tensor.raw, dtype).astype(np.float64).reshape(tensor.shape)


def json_values(tensor: Tensor) -> list[Any]:
    """The values in JSON, flat or nested as the shape is."""
    data: list[Any] = tensor.data or []
    if tensor.datatype == "FP16":
        raise tensor.refused("datatype FP16 is for binary data; in JSON send FP32 or FP64")
    if len(tensor.shape) == 2 and data and isinstance(data[0], list):
        for row, values in enumerate(data):
            if not isinstance(values, list) or len(values) != tensor.width:
                raise tensor.refused(f"row {row}: expected an array of {tensor.width} values")
        if len(data) == tensor.n:
            return list(chain.from_iterable(data))
        raise tensor.refused(f"shape {list(tensor.shape)}, but data has {len(data)} rows")
    if len(data) != tensor.size:
        raise tensor.refused(
            f"shape {list(tensor.shape)} takes {tensor.size} values, data has {len(data)}"
        )
    return data


def _check_whole(
    datatype: str, values: list[Any], columns: Sequence[Column], mistakes: Mistakes
) -> None:
    low, high = RANGES[datatype]
    if set(map(type, values)) == {int} and low <= min(values) and max(values) <= high:
        return
    if datatype == "INT64" and all(column.type == "long" for column in columns):
        return  # what the columns themselves take
    for cell, value in enumerate(values):
        # JSON does not tell 3.0 from 3. What is no number is left to the column's own check.
        if type(value) not in (int, float) or (low <= value <= high and not value % 1):
            continue
        found = "a number with a fraction" if value % 1 else "a number out of range"
        expected = f"expected a whole number from {low} to {high} ({datatype})"
        mistakes.add(f"{_where(cell, columns)}: {expected}, found {found}")


def _strings(
    tensor: Tensor, raw: memoryview, columns: Sequence[Column], mistakes: Mistakes
) -> list[Any]:
    values: list[Any] = []
    at = 0
    for cell in range(tensor.size):
        start = at + BYTES_LENGTH.size
        if start > len(raw):
            break
        at = start + BYTES_LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            break
        try:
            values.append(str(raw[start:at], "utf-8"))
        except UnicodeDecodeError:
            mistakes.add(f"{_where(cell, columns)}: expected UTF-8, found other bytes")
            values.append(None)
    else:
        if at == len(raw):
            return values
    raise tensor.refused(
        f"expected {tensor.size} strings, each after its length in 4 bytes, to fill the "
        f"{len(raw)} bytes of binary_data_size"
    )


def _where(cell: int, columns: Sequence[Column]) -> str:
    row, place = divmod(cell, len(columns))
    return f"row {row}, column {quoted(columns[place].name)}"


def expected_tensors(columns: Sequence[Column]) -> str:
    """Which tensors a model takes, for a message."""
    names = names_of([column.name for column in columns])
    each = f"one tensor for each column, of shape [rows] or [rows, 1]: {names}"
    if all(column.type in ("double", "long") for column in columns):
        return f"one tensor of shape [rows, {len(columns)}], or {each}"
    return each
