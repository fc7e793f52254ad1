"""The document is valid, and its examples are what the server takes and answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import orjson
import pandas as pd
import pytest
import schemathesis

from mlops_pipelines.measure.profile import Column as Watched
from mlops_pipelines.measure.profile import reference_profile
from mlops_pipelines.serve.examples import Examples
from mlops_pipelines.serve.openapi import openapi
from mlops_pipelines.serve.predictor import Predictor
from mlops_pipelines.serve.protocol import TableParser
from mlops_pipelines.serve.signature import BadRequest, Limits
from mlops_pipelines.serve.v2 import InferParser, outputs_of

LIMITS = Limits(rows=7)
NUMERIC = ("double", "long")


@pytest.fixture(scope="module")
def profiled(bundles: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixed bundle with the profile that a release puts into it."""
    folder = tmp_path_factory.mktemp("profiled") / "mixed"
    shutil.copytree(bundles.mixed, folder)
    columns = json.loads((folder / "bundle.json").read_text())["columns"]
    watched = [
        Watched(column["name"], "numeric" if column["type"] in NUMERIC else "categorical")
        for column in columns
    ]
    profile = reference_profile(bundles.mixed_rows, watched)
    (folder / "reference_profile.json").write_text(profile.to_json())
    return folder


Described = Callable[..., dict[str, Any]]


@pytest.fixture
def described() -> Described:
    def described(folder: Path, needs_token: bool = False) -> dict[str, Any]:
        predictor = Predictor.load(folder)
        document = openapi(predictor.meta, Examples(predictor), LIMITS, needs_token)
        return orjson.loads(orjson.dumps(document))

    return described


@pytest.mark.parametrize("needs_token", [False, True])
@pytest.mark.parametrize("name", ["cancer", "mixed", "diabetes", "wine", "fragile"])
def test_the_document_is_valid(
    bundles: Any, described: Described, name: str, needs_token: bool
) -> None:
    document = described(getattr(bundles, name), needs_token)
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    secured = [
        path
        for path, item in document["paths"].items()
        if item.get("post", {}).get("security") == [{"bearer": []}]
    ]
    posts = [path for path, item in document["paths"].items() if "post" in item]
    assert secured == (posts if needs_token else [])
    assert ("securitySchemes" in document["components"]) == needs_token
    references = json.dumps(document).split('"$ref": "#/components/')[1:]
    for reference in references:
        kind, name = reference.partition('"')[0].split("/")
        assert name in document["components"][kind]


def test_the_example_row_is_typical_and_nobodys(bundles: Any, profiled: Path) -> None:
    rows = bundles.mixed_rows
    examples = Examples(Predictor.load(profiled))
    plan, age, income, member = examples.row
    assert plan == rows["plan"].value_counts().index[0]
    assert member == bool(rows["member"].mode()[0])
    assert isinstance(age, int) and abs((rows["age"] < age).mean() - 0.5) < 0.15
    assert isinstance(income, float) and abs((rows["income"] < income).mean() - 0.4) < 0.2
    assert examples.row is examples.row


def test_a_rare_level_is_no_example(bundles: Any, profiled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(profiled, folder)
    rows = bundles.mixed_rows[:20].assign(plan=[f"name {row}" for row in range(20)])
    watched = [Watched("plan", "categorical"), Watched("age", "numeric")]
    (folder / "reference_profile.json").write_text(reference_profile(rows, watched).to_json())
    assert Examples(Predictor.load(folder)).row[0] is None


def test_without_a_profile_the_example_is_plain(bundles: Any) -> None:
    assert Examples(Predictor.load(bundles.mixed)).row == ["text", 0, 0.0, False]


def test_a_number_of_few_values_is_one_of_them(bundles: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles.mixed, folder)
    values = np.repeat([1, 3, 8], [20, 50, 30])
    rows = pd.DataFrame({"age": values, "income": values / 4})
    watched = [Watched("age", "numeric"), Watched("income", "numeric")]
    (folder / "reference_profile.json").write_text(reference_profile(rows, watched).to_json())
    assert Examples(Predictor.load(folder)).row[1:3] == [3, 0.75]


@pytest.mark.parametrize("name", ["cancer", "profiled", "diabetes", "wine"])
def test_the_examples_are_taken_and_the_answers_are_the_models(
    bundles: Any, profiled: Path, described: Described, name: str
) -> None:
    folder = profiled if name == "profiled" else getattr(bundles, name)
    predictor = Predictor.load(folder)
    document = described(folder)
    row = Examples(predictor).row
    answer = predictor.predict_rows([row])
    operation = document["paths"]["/invocations"]["post"]
    parser = TableParser(predictor.meta.columns, LIMITS)
    content = operation["requestBody"]["content"]
    table = resolved(document, content["application/json"]["schema"])
    for each in content["application/json"]["examples"].values():
        table.validate(each["value"])
        assert parser.parse(orjson.dumps(each["value"]), "application/json").values == [row]
    text = content["text/csv"]["examples"]["csv"]["value"]
    assert parser.parse(text.encode(), "text/csv").values == [row]
    told = operation["responses"]["200"]["content"]["application/json"]
    resolved(document, told["schema"]).validate(told["examples"]["answer"]["value"])
    assert told["examples"]["answer"]["value"]["predictions"] == answer.predictions
    assert told["examples"]["answer"]["value"]["scores"] == answer.scores

    infer = document["paths"]["/v2/models/{name}/infer"]["post"]
    tensors = InferParser(predictor.meta, outputs_of(answer), LIMITS)
    content = infer["requestBody"]["content"]["application/json"]
    for each in content["examples"].values():
        resolved(document, content["schema"]).validate(each["value"])
        read = tensors.parse(orjson.dumps(each["value"]), "application/json", None)
        assert read.rows.values == [row]
    outputs = infer["responses"]["200"]["content"]["application/json"]["examples"]["answer"]
    by_name = {output["name"]: output["data"] for output in outputs["value"]["outputs"]}
    assert (by_name["predictions"], by_name["scores"]) == (answer.predictions, answer.scores)


def test_every_example_fits_its_schema(profiled: Path, described: Described) -> None:
    document = described(profiled, True)
    seen = 0

    def walk(found: Any) -> None:
        nonlocal seen
        if isinstance(found, dict):
            for each in found.get("examples", {}).values() if "schema" in found else ():
                resolved(document, found["schema"]).validate(each["value"])
                seen += 1
            for value in found.values():
                walk(value)
        elif isinstance(found, list):
            for value in found:
                walk(value)

    walk(document["paths"])
    walk(document["components"]["responses"])
    assert seen > 30


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [["a", 1, 1.0, True]], "instances": [["a", 1, 1.0, True]]},
        {"inputs": [["a", 1, 1.0]]},
        {"inputs": [["a", 1, 1.0, True, 1]]},
        {"inputs": [["a", None, 1.0, True]]},
        {"inputs": [[1, 1, 1.0, True]]},
        {"inputs": [["a", 1.5, 1.0, True]]},
        {"inputs": [["a", 2**63, 1.0, True]]},
        {"inputs": [["a", 1, 1e39, True]]},
        {"inputs": [["a", 1, "x", True]]},
        {"inputs": [["a", 1, 1.0, 1]]},
        {"inputs": [["a", 1, 1.0, True]] * (LIMITS.rows + 1)},
        {"dataframe_records": [{"plan": "a", "age": 1, "income": 1.0}]},
        {"dataframe_records": [{"plan": "a", "age": 1, "income": 1.0, "member": True, "x": 1}]},
        {"dataframe_split": {"columns": ["plan", "age", "income"], "data": [["a", 1, 1.0]]}},
        {"inputs": [["a", 1, 1.0, True]], "prediction_ids": [""]},
        {"inputs": [["a", 1, 1.0, True]], "prediction_ids": ["a" * 129]},
        {"inputs": [["a", 1, 1.0, True]] * 2, "prediction_ids": ["a", "a"]},
        {"inputs": [["a", 1, 1.0, True]], "other": 1},
    ],
)
def test_what_the_schema_forbids_the_server_refuses(
    bundles: Any, described: Described, body: Any
) -> None:
    document = described(bundles.mixed)
    schema = resolved(document, {"$ref": "#/components/schemas/Table"})
    assert not schema.is_valid(body)
    with pytest.raises(BadRequest):
        TableParser(Predictor.load(bundles.mixed).meta.columns, LIMITS).parse(
            orjson.dumps(body), "application/json"
        )


def test_a_model_that_fails_on_the_example_is_still_described(
    bundles: Any, described: Described, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles.fragile, folder)
    rows = pd.DataFrame({"amount": np.linspace(-9.0, -1.0, 300)})
    profile = reference_profile(rows, [Watched("amount", "numeric")])
    (folder / "reference_profile.json").write_text(profile.to_json())
    document = described(folder)
    assert Examples(Predictor.load(folder)).answer is None
    responses = document["paths"]["/invocations"]["post"]["responses"]
    assert "examples" not in responses["200"]["content"]["application/json"]
    schemathesis.openapi.from_dict(document).validate()


def test_what_the_server_is(bundles: Any, described: Described) -> None:
    document = described(bundles.mixed, True)
    assert document["x-limits"] == {
        "rows": 7,
        "body_bytes": LIMITS.body_bytes,
        "request_seconds": LIMITS.request_seconds,
        "in_flight": LIMITS.in_flight,
    }
    model = document["x-model"]
    assert (model["name"], model["version"], model["runtime"]) == ("mixed", 1, "scikit-learn")
    bad = document["components"]["responses"]["BadRequest"]
    said = bad["content"]["application/json"]["examples"]["answer"]["value"]["error"]
    assert said == 'row 0, column "plan": expected a string or null, found an array'


def resolved(document: dict[str, Any], schema: Any) -> Any:
    """A validator of one schema of the document."""
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})
