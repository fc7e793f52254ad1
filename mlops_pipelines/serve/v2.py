"""The Open Inference Protocol, version 2, over REST: what is asked and answered, not the paths.

https://github.com/kserve/open-inference-protocol (inference_rest.md); requests may carry their
tensors as JSON or as binary data after it, answers are JSON, which its clients take either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from mlops_pipelines.serve.bundle import Bundle, Label
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.signature import (
    LISTED_NAMES,
    BadRequest,
    Limits,
    Mistakes,
    RowChecker,
    checked_ids,
    compare_names,
    json_object,
    media_type,
    names_of,
    quoted,
    refuse_too_many,
)
from mlops_pipelines.serve.table import MANY_ROWS, Table, TableReader, may_hold_booleans
from mlops_pipelines.serve.v2_tensors import (
    TAKES,
    Tensor,
    expected_tensors,
    flat_values,
    json_values,
    matrix,
    read_tensors,
)

if TYPE_CHECKING:
    from mlops_pipelines.serve.answered import Answered
    from mlops_pipelines.serve.predictor import Answer

JSON = "application/json"
# Clients that send tensors in binary say either of these, or nothing.
MEDIA = (JSON, "application/octet-stream", "")
# They would change what an output is, or where it is written.
OUTPUT_PARAMETERS_REFUSED = ("classification", "shared_memory_region")
# Datatypes whose JSON values need no check beyond their column's own.
PLAIN = {"double": ("FP64", "FP32"), "long": ("INT64",), "string": ("BYTES",), "boolean": ("BOOL",)}
LABELS: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


@dataclass(frozen=True, slots=True)
class Infer:
    """A checked inference request: its rows, its own id, and the outputs it wants."""

    rows: Rows
    id: str | None
    outputs: tuple[str, ...]


def server_metadata(version: str) -> dict[str, Any]:
    """The answer to GET /v2; `version` is the server's."""
    return {"name": "mlops_pipelines", "version": version, "extensions": ["binary_tensor_data"]}


def outputs_of(answer: Answer) -> tuple[str, ...]:
    """The outputs of a model that answers its golden rows like this."""
    has = {"scores": answer.scores, "probabilities": answer.probabilities}
    return ("predictions", *(name for name in has if has[name] is not None), "prediction_ids")


def model_metadata(bundle: Bundle, platform: str, outputs: tuple[str, ...]) -> dict[str, Any]:
    """The answer to GET /v2/models/<name>; `outputs` as `outputs_of` has them.

    The classes are named in the order of the probabilities, the positive one beside the scores.
    """
    about: dict[str, dict[str, Any]] = {
        "predictions": {"datatype": _label_type(bundle.classes), "shape": [-1]},
        "scores": {"datatype": "FP64", "shape": [-1]},
        "probabilities": {"datatype": "FP64", "shape": [-1, len(bundle.classes or ())]},
        "prediction_ids": {"datatype": "BYTES", "shape": [-1]},
    }
    about["probabilities"]["parameters"] = {"classes": list(bundle.classes or ())}
    if bundle.positive is not None:
        about["scores"]["parameters"] = {"positive": bundle.positive}
    return {
        "name": bundle.model,
        "versions": [str(bundle.version)],
        "platform": platform,
        "inputs": [
            {"name": column.name, "datatype": TAKES[column.type][0], "shape": [-1]}
            for column in bundle.columns
        ],
        "outputs": [{"name": name} | about[name] for name in outputs],
    }


class InferParser:
    """Reads the inference requests to one model; made once, for what it prepares."""

    def __init__(self, bundle: Bundle, outputs: tuple[str, ...], limits: Limits) -> None:
        self._columns = bundle.columns
        self._names = list(bundle.names)
        self._outputs = outputs
        self._most = limits.rows
        self._checker = RowChecker(bundle.columns)
        self._tables = TableReader(bundle.columns)
        self._numeric = all(column.type in ("double", "long") for column in bundle.columns)
        self._doubles = all(column.type == "double" for column in bundle.columns)
        self._plain = [(column.name, PLAIN[column.type]) for column in bundle.columns]

    def parse(self, body: bytes, content_type: str, header_length: str | None) -> Infer:
        """The request in a body, checked against the signature. Raises BadRequest.

        `header_length` is the header Inference-Header-Content-Length: how many bytes of the body
        are JSON; None where it was not sent, and all of them are.
        """
        if content_type not in MEDIA and media_type(content_type) not in MEDIA:
            raise BadRequest(415, f"expected the content type {JSON} or {MEDIA[1]}")
        binary = None
        if header_length is not None:
            length = _length(header_length, len(body))
            binary = memoryview(body)[length:]
            body = body[:length]
        document = json_object(body)
        inputs = document.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise BadRequest(400, f"inputs: expected {expected_tensors(self._columns)}")
        row = None if binary is not None else self._one_plain_row(inputs)
        found = self._rows(inputs, binary, body) if row is None else [row]
        rows = Rows(found if isinstance(found, Table) else self._checker.check(found))
        request_id, outputs = None, self._outputs
        if len(document) > 1:
            request_id = document.get("id")
            if request_id is not None and not isinstance(request_id, str):
                raise BadRequest(400, "id: expected a string")
            outputs = self._wanted(document.get("outputs"))
            parameters = document.get("parameters")
            if parameters is not None and not isinstance(parameters, dict):
                raise BadRequest(400, "parameters: expected an object")
            if parameters and "prediction_ids" in parameters:
                rows.prediction_ids = checked_ids(parameters["prediction_ids"], rows.n)
        return Infer(rows, request_id, outputs)

    def _one_plain_row(self, inputs: list[Any]) -> list[Any] | None:
        """The only row, where it is in JSON and plain; None where it takes a closer look."""
        if len(inputs) == 1 and self._doubles:
            data = _plain_data(inputs[0], ([1, len(self._names)],), PLAIN["double"])
            return data if data is not None and len(data) == len(self._names) else None
        if len(inputs) != len(self._names):
            return None
        row = []
        for said, (name, datatypes) in zip(inputs, self._plain, strict=True):
            data = _plain_data(said, ([1], [1, 1]), datatypes)
            if data is None or len(data) != 1 or said.get("name") != name:
                return None
            row.append(data[0])
        return row

    def _rows(
        self, inputs: list[Any], binary: memoryview | None, body: bytes
    ) -> list[list[Any]] | Table:
        """The rows, each value as its tensor's datatype has it; many as a checked table."""
        if len(inputs) > len(self._names) + LISTED_NAMES:
            expected = expected_tensors(self._columns)
            raise BadRequest(400, f"inputs: found {len(inputs)} tensors, expected {expected}")
        tensors = read_tensors(inputs, binary)
        refuse_too_many(max(tensor.n for tensor in tensors), self._most, "rows")
        first = tensors[0]
        mistakes = Mistakes()
        if len(tensors) == 1 and (first.width > 1 or first.name not in self._names):
            if not self._numeric or first.width != len(self._names):
                expected = expected_tensors(self._columns)
                raise first.refused(f"shape {list(first.shape)}, expected {expected}")
            many = self._table(first, body) if first.n >= MANY_ROWS else None
            if many is not None:
                return many
            values = flat_values(first, self._columns, mistakes)
            mistakes.refuse_if_any()
            return [values[at : at + first.width] for at in range(0, len(values), first.width)]
        compare_names([tensor.name for tensor in tensors], self._names, mistakes)
        mistakes.refuse_if_any()
        by_name = {tensor.name: tensor for tensor in tensors}
        table = []
        for column in self._columns:
            tensor = by_name[column.name]
            if tensor.width != 1 or tensor.n != first.n:
                raise tensor.refused(
                    f"shape {list(tensor.shape)}, expected [{first.n}] or [{first.n}, 1]: as many "
                    f"rows as in tensor {quoted(first.name)}"
                )
            table.append(flat_values(tensor, (column,), mistakes))
        mistakes.refuse_if_any()
        many = self._tables.from_columns(table) if first.n >= MANY_ROWS else None
        return many or [list(row) for row in zip(*table, strict=True)]

    def _table(self, tensor: Tensor, body: bytes) -> Table | None:
        """The rows of one tensor of numbers; None where they take a closer look."""
        numbers = matrix(tensor)
        if numbers is not None:
            return self._tables.from_numbers(numbers)
        if tensor.raw is not None or tensor.datatype not in PLAIN["double"]:
            return None
        return self._tables.from_flat(json_values(tensor), may_hold_booleans(body))

    def _wanted(self, outputs: Any) -> tuple[str, ...]:
        if outputs is None or outputs == []:
            return self._outputs
        if not isinstance(outputs, list):
            raise BadRequest(400, "outputs: expected an array of objects with a name")
        wanted: list[str] = []
        for index, output in enumerate(outputs):
            if not isinstance(output, dict) or not isinstance(output.get("name"), str):
                raise BadRequest(400, f"outputs: {index}: expected an object with a name")
            name, parameters = output["name"], output.get("parameters")
            if name not in self._outputs:
                known = names_of(self._outputs)
                raise BadRequest(400, f"outputs: unknown output {quoted(name)}; allowed: {known}")
            if name in wanted:
                raise BadRequest(400, f"outputs: output {quoted(name)} is named twice")
            if isinstance(parameters, dict):
                for refused in OUTPUT_PARAMETERS_REFUSED:
                    if refused in parameters:
                        why = f"the parameter {refused} is not supported"
                        raise BadRequest(400, f"outputs: output {quoted(name)}: {why}")
            wanted.append(name)
        return tuple(wanted)


def infer_response(bundle: Bundle, infer: Infer, answered: Answered) -> dict[str, Any]:
    """The answer to an inference request, as a JSON document.

    The ids of the predictions are always in it: among the parameters where the request wants
    other outputs alone.
    """
    n = len(answered.ids)
    outputs = []
    for name in infer.outputs:
        datatype, shape = "FP64", [n]
        data: list[Any] | None = answered.scores
        if name == "predictions":
            datatype, data = _label_type(bundle.classes), answered.predictions
        elif name == "prediction_ids":
            datatype, data = "BYTES", answered.ids
        elif name == "probabilities" and answered.probabilities is not None:
            shape = [n, len(answered.probabilities[0])]
            data = list(chain.from_iterable(answered.probabilities))
        outputs.append({"name": name, "datatype": datatype, "shape": shape, "data": data})
    document: dict[str, Any] = {
        "model_name": bundle.model,
        "model_version": str(bundle.version),
        "outputs": outputs,
    }
    if infer.id is not None:
        document["id"] = infer.id
    if "prediction_ids" not in infer.outputs:
        document["parameters"] = {"prediction_ids": answered.ids}
    return document


def _plain_data(
    said: Any, shapes: tuple[list[int], ...], datatypes: tuple[str, ...]
) -> list[Any] | None:
    """A tensor's flat JSON data, where there is nothing to it but that."""
    if type(said) is not dict or "parameters" in said or said.get("shape") not in shapes:
        return None
    data = said.get("data")
    if said.get("datatype") not in datatypes or type(data) is not list or not data:
        return None
    # 1.0 and true are equal to 1, but no length.
    if type(said["shape"][0]) is not int or type(said["shape"][-1]) is not int:
        return None
    return None if type(data[0]) is list or type(said.get("name")) is not str else data


def _label_type(classes: tuple[Label, ...] | None) -> str:
    return "FP64" if classes is None else LABELS[type(classes[0])]


def _length(header: str, most: int) -> int:
    # Python reads no more than 4,300 digits; 20 are more than any body has bytes.
    if header.isascii() and header.isdigit() and len(header) <= 20 and int(header) <= most:
        return int(header)
    raise BadRequest(
        400,
        f"Inference-Header-Content-Length: expected a whole number from 0 to {most}, the length of "
        "the body",
    )
