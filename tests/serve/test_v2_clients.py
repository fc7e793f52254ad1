"""A client of the Open Inference Protocol from the package index, unchanged, and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from mlops_pipelines.serve.segments import read_segments


def client_of(service: Any) -> InferenceServerClient:
    return InferenceServerClient(service.url.removeprefix("http://"), network_timeout=20)


def given(name: str, datatype: str, values: np.ndarray[Any, Any], binary: bool) -> InferInput:
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


def logged_ids(service: Any) -> set[str]:
    segments = read_segments(service.log_dir, "predictions")
    return {row.prediction_id for segment in segments for row in segment.rows}


@pytest.fixture(scope="module")
def cancer(bundles: Any, module_service: Any) -> Any:
    process = module_service.start(bundles.cancer, "--serve", "--no-fsync")
    module_service.wait_for(process, state="serving")
    return module_service


@pytest.fixture(scope="module")
def client(cancer: Any) -> Iterator[InferenceServerClient]:
    with client_of(cancer) as client:
        yield client


def test_a_client_sees_health(client: InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("cancer") and client.is_model_ready("cancer", "1")
    assert not client.is_model_ready("cancer", "2") and not client.is_model_ready("other")


def test_a_client_reads_what_server_and_model_are(
    client: InferenceServerClient, bundles: Any
) -> None:
    server = client.get_server_metadata()
    assert set(server) == {"name", "version", "extensions"}
    assert (server["name"], server["extensions"]) == ("mlops_pipelines", ["binary_tensor_data"])
    model = client.get_model_metadata("cancer")
    assert model == client.get_model_metadata("cancer", "1")
    assert (model["name"], model["versions"]) == ("cancer", ["1"])
    assert model["inputs"] == [
        {"name": name, "datatype": "FP64", "shape": [-1]} for name in bundles.cancer_rows
    ]
    assert {output["name"]: output["datatype"] for output in model["outputs"]} == {
        "predictions": "INT64",
        "scores": "FP64",
        "probabilities": "FP64",
        "prediction_ids": "BYTES",
    }


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("n", [1, 100])
def test_a_client_is_answered_as_at_invocations(
    client: InferenceServerClient, cancer: Any, bundles: Any, binary: bool, each: bool, n: int
) -> None:
    frame: pd.DataFrame = bundles.cancer_rows[:n]
    rows = frame.to_numpy(dtype=float)
    if each:
        inputs = [given(name, "FP64", frame[[name]].to_numpy(), binary) for name in frame]
    else:
        inputs = [given("predict", "FP64", rows, binary)]
    found = client.infer("cancer", inputs, model_version="1", request_id="42")
    expected = httpx.post(f"{cancer.url}/invocations", json={"inputs": rows.tolist()}).json()
    assert found.as_numpy("predictions").tolist() == expected["predictions"]
    assert found.as_numpy("scores").tolist() == expected["scores"]
    probabilities = found.as_numpy("probabilities")
    assert probabilities.shape == (n, 2)
    assert probabilities[:, 1].tolist() == expected["scores"]
    response = found.get_response()
    names = (response["id"], response["model_name"], response["model_version"])
    assert names == ("42", "cancer", "1")
    ids = found.as_numpy("prediction_ids").tolist()
    assert len(set(ids)) == n and set(ids) <= logged_ids(cancer)


def test_a_client_gets_the_outputs_it_asks_for_and_gives_its_own_ids(
    client: InferenceServerClient, cancer: Any, bundles: Any
) -> None:
    inputs = [given("predict", "FP32", bundles.cancer_rows[:2].to_numpy(dtype=np.float32), True)]
    found = client.infer(
        "cancer",
        inputs,
        outputs=[InferRequestedOutput("scores"), InferRequestedOutput("predictions")],
        parameters={"prediction_ids": ["mine-1", "mine-2"]},
    )
    response = found.get_response()
    assert [output["name"] for output in response["outputs"]] == ["scores", "predictions"]
    assert response["parameters"] == {"prediction_ids": ["mine-1", "mine-2"]}
    assert "id" not in response
    assert {"mine-1", "mine-2"} <= logged_ids(cancer)


def test_a_client_is_told_what_is_wrong(client: InferenceServerClient, bundles: Any) -> None:
    rows = bundles.cancer_rows[:2].to_numpy(dtype=float)
    first = next(iter(bundles.cancer_rows))
    with_nan = rows.copy()
    with_nan[1, 0] = np.nan

    def refused(model: str, values: np.ndarray[Any, Any], version: str = "") -> tuple[str, str]:
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, [given("predict", "FP64", values, True)], version)
        return caught.value.status(), caught.value.message()

    message = f'row 1, column "{first}": expected a finite number, found NaN'
    assert refused("cancer", with_nan) == ("400", message)
    status, message = refused("cancer", rows[:, :-1])
    assert status == "400" and message.startswith('tensor "predict": shape [2, 29], expected one')
    assert refused("other", rows)[0] == "404"
    assert refused("cancer", rows, "2")[0] == "404"
    with pytest.raises(InferenceServerException) as caught:
        client.get_model_metadata("other")
    assert caught.value.status() == "404"
    assert client.infer("cancer", [given("predict", "FP64", rows, True)]).as_numpy("scores").size


@pytest.mark.parametrize("binary", [True, False])
def test_a_client_sends_columns_of_every_type(bundles: Any, service: Any, binary: bool) -> None:
    process = service.start(bundles.mixed, "--serve", "--no-fsync")
    service.wait_for(process, state="serving")
    frame = bundles.mixed_rows[bundles.mixed_rows["plan"].notna()][:20]
    if not binary:
        # JSON has no NaN, which is how this client says null.
        frame = frame[frame["income"].notna()]
    assert frame["income"].isna().any() == binary
    inputs = [
        given("plan", "BYTES", frame["plan"].to_numpy(dtype=object), binary),
        given("age", "INT32", frame["age"].to_numpy(dtype=np.int32), binary),
        given("income", "FP64", frame["income"].to_numpy(), binary),
        given("member", "BOOL", frame["member"].to_numpy(), binary),
    ]
    with client_of(service) as client:
        found = client.infer("mixed", inputs)
    rows = [
        [None if pd.isna(value) else value for value in row]
        for row in frame.astype(object).to_numpy().tolist()
    ]
    expected = httpx.post(f"{service.url}/invocations", json={"inputs": rows}).json()
    assert found.as_numpy("predictions").tolist() == expected["predictions"]
    assert found.as_numpy("scores").tolist() == expected["scores"]
