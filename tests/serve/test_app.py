"""One worker of each kind, asked over its public socket."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mlops_pipelines.serve.segments import read_segments


@pytest.fixture(scope="module")
def cancer(bundles: Any, module_service: Any) -> Iterator[httpx.Client]:
    """A client of a worker that serves the cancer model, with small limits."""
    limits = ["--max-rows", "400", "--max-body-bytes", "400000"]
    process = module_service.start(bundles.cancer, "--serve", *limits)
    module_service.wait_for(process, state="serving")
    with httpx.Client(base_url=module_service.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def body(bundles: Any) -> dict[str, Any]:
    return {"dataframe_split": json.loads(bundles.cancer_rows[:3].to_json(orient="split"))}


def test_every_form_gets_the_same_answer(
    bundles: Any, cancer: httpx.Client, body: dict[str, Any]
) -> None:
    rows = bundles.cancer_rows[:3]
    documents = [
        body,
        {"dataframe_records": rows.to_dict(orient="records")},
        {"inputs": rows.to_dict(orient="list")},
        {"instances": rows.to_numpy().tolist()},
    ]
    answers = [cancer.post("/invocations", json=document).json() for document in documents]
    csv = {"content-type": "text/csv"}
    text = rows.to_csv(index=False)
    answers.append(cancer.post("/invocations", content=text, headers=csv).json())
    for answer in answers:
        assert len(set(answer.pop("prediction_ids"))) == 3
    assert answers == [answers[0]] * 5
    assert list(answers[0]) == ["predictions", "scores", "model", "version"]


def test_a_row_is_logged_as_it_was_answered(
    cancer: httpx.Client, body: dict[str, Any], module_service: Any
) -> None:
    headers = {"x-request-id": "mine", "x-event-time": "2026-01-31T10:30:00+01:00"}
    document = body | {"prediction_ids": ["a-1", "a-2", "a-3"]}
    response = cancer.post("/invocations", json=document, headers=headers)
    answer = response.json()
    assert response.headers["x-request-id"] == "mine"
    assert (response.headers["x-model"], response.headers["x-model-version"]) == ("cancer", "1")
    (segment,) = read_segments(module_service.log_dir, "predictions")
    assert segment.header["model"] == "cancer"
    assert segment.header["model_version"] == 1
    assert segment.header["columns"] == body["dataframe_split"]["columns"]
    logged = [row for row in segment.rows if row.request_id == "mine"]
    assert (
        [row.prediction_id for row in logged] == answer["prediction_ids"] == ["a-1", "a-2", "a-3"]
    )
    assert [row.request_row for row in logged] == [0, 1, 2]
    assert {row.predicted_at for row in logged} == {"2026-01-31T09:30:00.000000Z"}
    assert [row.prediction for row in logged] == answer["predictions"]
    assert [row.score for row in logged] == answer["scores"]
    assert [row.probabilities[1] for row in logged] == answer["scores"]
    assert [row.features for row in logged] == body["dataframe_split"]["data"]
    assert all(row.latency_ms > 0 for row in logged)


def test_without_an_event_time_a_row_is_about_now(
    cancer: httpx.Client, body: dict[str, Any], module_service: Any
) -> None:
    given = cancer.post("/invocations", json=body, headers={"x-request-id": "y" * 129})
    request_id = given.headers["x-request-id"]
    assert len(request_id) == 36
    (segment,) = read_segments(module_service.log_dir, "predictions")
    logged = [row for row in segment.rows if row.request_id == request_id]
    assert len(logged) == 3
    assert all(row.predicted_at <= row.logged_at for row in logged)
    assert logged[0].predicted_at[:10] in {row.logged_at[:10] for row in logged}


def test_what_does_not_fit_is_refused_and_not_logged(
    cancer: httpx.Client, body: dict[str, Any], module_service: Any
) -> None:
    json_type = {"content-type": "application/json"}
    data = [list(row) for row in body["dataframe_split"]["data"]]
    data[2][1] = "seventeen"
    wrong = {"dataframe_split": body["dataframe_split"] | {"data": data}}
    ahead = {"x-event-time": "2999-01-01T00:00:00Z"}
    many = {"instances": [data[0]] * 401}
    before = sum(len(s.rows) for s in read_segments(module_service.log_dir, "predictions"))
    refused = [
        cancer.post("/invocations", content=b"{", headers=json_type),
        cancer.post("/invocations", content=b"x=1", headers={"content-type": "text/plain"}),
        cancer.post("/invocations", json=wrong),
        cancer.post("/invocations", json=body, headers=ahead),
        cancer.post("/invocations", json=many),
        cancer.post("/invocations", content=b" " * 400_001, headers=json_type),
    ]
    assert [(response.status_code, response.json()["error"]) for response in refused] == [
        (400, refused[0].json()["error"]),
        (415, "expected the content type application/json or text/csv"),
        (400, 'row 2, column "mean texture": expected a finite number, found a string'),
        (400, "X-Event-Time: the time lies more than five minutes in the future"),
        (413, "401 rows; at most 400 in one request"),
        (413, "the body is too long; at most 400000 bytes"),
    ]
    assert refused[0].json()["error"].startswith("the body is not JSON")
    after = sum(len(s.rows) for s in read_segments(module_service.log_dir, "predictions"))
    assert after == before
    assert "seventeen" not in module_service.stderr


def test_a_large_request_is_answered_in_order(
    bundles: Any, cancer: httpx.Client, module_service: Any
) -> None:
    rows = bundles.cancer_rows[:400].to_numpy().tolist()
    answer = cancer.post("/invocations", json={"instances": rows}).json()
    singly = [cancer.post("/invocations", json={"instances": [row]}).json() for row in rows[:20]]
    assert answer["scores"][:20] == [one["scores"][0] for one in singly]
    assert len(answer["predictions"]) == len(rows)


def test_labels_are_logged(cancer: httpx.Client, module_service: Any) -> None:
    labels = [
        {"prediction_id": "a-1", "label": 1, "time": "2026-02-01T00:00:00Z"},
        {"prediction_id": "a-2", "label": 0},
    ]
    assert cancer.post("/feedback", json={"labels": labels}).json() == {
        "accepted": 2,
        "unknown": [],
        "unknown_count": 0,
    }
    refused = cancer.post("/feedback", json={"labels": [{"prediction_id": "a-3", "label": 2}]})
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "label 0: label: expected one of [0,1]"},
    )
    (segment,) = read_segments(module_service.log_dir, "labels")
    assert [tuple(row[:3]) for row in segment.rows] == [
        ("a-1", 1, "2026-02-01T00:00:00.000000Z"),
        ("a-2", 0, None),
    ]


def test_health_and_index_say_who_answers(bundles: Any, cancer: httpx.Client) -> None:
    digest = json.loads((bundles.cancer / "manifest.json").read_text())["digest"]
    who = {"model": "cancer", "version": 1, "bundle": digest}
    assert cancer.get("/health/live").json() == {"live": True}
    ready = cancer.get("/health/ready")
    assert (ready.status_code, ready.json()) == (
        200,
        {"name": "cancer", "ready": True, "state": "serving"} | who,
    )
    index = cancer.get("/").json()
    assert index.pop("endpoints")["/invocations"] == "POST"
    assert index == who
    assert cancer.head("/health/ready").status_code == 200


def test_other_paths_and_methods_are_errors_in_json(cancer: httpx.Client) -> None:
    assert cancer.get("/nothing").status_code == 404
    assert "/invocations" in cancer.get("/nothing").json()["error"]
    wrong = cancer.get("/invocations")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert cancer.post("/metrics").status_code == 405


def test_metrics_agree_with_the_log(cancer: httpx.Client, module_service: Any) -> None:
    page = cancer.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in page.text.splitlines() if not line.startswith("#")]
    found = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    own = 'model="cancer",version="1"'
    segments = [*read_segments(module_service.log_dir, "predictions")]
    rows = [row for segment in segments for row in segment.rows]
    labels = list(read_segments(module_service.log_dir, "labels"))
    assert found[f"mlops_rows_total{{{own}}}"] == len(rows)
    assert found[f'mlops_requests_total{{{own},status="200"}}'] == len({r.request_id for r in rows})
    assert found[f"mlops_labels_total{{{own}}}"] == sum(len(s.rows) for s in labels)
    # Behind the rows of the present segment lie the zeros that the next ones take the place of.
    written = [path.read_bytes().rstrip(b"\0") for path in module_service.log_dir.iterdir()]
    on_disk = sum(map(len, written))
    assert found[f"mlops_log_bytes_total{{{own}}}"] == on_disk
    assert found[f"mlops_inflight{{{own}}}"] == 0
    counted = sum(n for name, n in found.items() if name.startswith("mlops_requests_total"))
    assert found[f"mlops_request_seconds_count{{{own}}}"] == counted


def test_logged_rows_are_answered_again_to_the_last_bit(
    bundles: Any, cancer: httpx.Client, body: dict[str, Any], module_service: Any, writers: Any
) -> None:
    cancer.post("/invocations", json=body, headers={"x-request-id": "again"})
    (segment,) = read_segments(module_service.log_dir, "predictions")
    logged = [row for row in segment.rows if row.request_id == "again"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlops_pipelines.serve"]
        + ["--bundle", bundles.cancer, "--answer"],
        input=json.dumps({"rows": [row.features for row in logged]}).encode(),
        env=writers.environment(bundles.cancer),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "predictions": [row.prediction for row in logged],
        "scores": [row.score for row in logged],
        "probabilities": [row.probabilities for row in logged],
    }


def test_mixed_types_and_nulls(bundles: Any, service: Any, writers: Any) -> None:
    process = service.start(bundles.mixed, "--serve", "--no-fsync")
    service.wait_for(process, state="serving")
    golden = json.loads((bundles.mixed / "golden.json").read_text())
    response = httpx.post(f"{service.url}/invocations", json={"inputs": golden["rows"]})
    answer = response.json()
    assert answer["predictions"] == golden["predictions"]
    assert answer["scores"] == pytest.approx(golden["scores"], rel=1e-9)
    nulls = {"plan": None, "age": None, "income": None, "member": None}
    refused = httpx.post(f"{service.url}/invocations", json={"instances": [nulls]}).json()
    assert refused["error"] == (
        'row 0, column "age": expected a 64-bit integer, found null; '
        'row 0, column "member": expected true or false, found null'
    )
    (segment,) = read_segments(service.log_dir, "predictions")
    assert [row.features for row in segment.rows] == golden["rows"]


def test_a_failing_model_is_an_error_with_an_id_and_nothing_of_the_row(
    bundles: Any, service: Any
) -> None:
    process = service.start(bundles.fragile, "--serve")
    service.wait_for(process, state="serving")
    with httpx.Client(base_url=service.url) as client:
        failed = client.post("/invocations", json={"inputs": [[-123.456]]})
        assert failed.status_code == 500
        assert failed.json()["error"] == "the model failed"
        assert client.post("/invocations", json={"inputs": [[0.75]]}).status_code == 200
        assert 'version="1",kind="model"} 1' in client.get("/metrics").text
        assert client.get("/health/ready").status_code == 200
    (line,) = [json.loads(line) for line in service.stderr.splitlines() if "failed" in line]
    assert line["error_id"] == failed.json()["error_id"]
    assert (line["event"], line["kind"]) == ("model_failed", "ValueError")
    assert re.search(r"assets/fragile/pipeline\.py:\d+ transform$", line["frames"][-1])
    assert "123.456" not in service.stderr + failed.text
    (segment,) = read_segments(service.log_dir, "predictions")
    assert [row.features for row in segment.rows] == [[0.75]]


def test_what_cannot_be_logged_is_not_answered(bundles: Any, service: Any) -> None:
    process = service.start(bundles.diabetes, "--serve")
    service.wait_for(process, state="serving")
    row = {"inputs": [[0.01] * 10]}
    with httpx.Client(base_url=service.url) as client:
        answer = client.post("/invocations", json=row).json()
        assert answer["scores"] == answer["predictions"]
        assert math.isfinite(answer["scores"][0])
        shutil.rmtree(service.log_dir)
        service.log_dir.write_text("a file where the folder was")
        unlogged = client.post("/invocations", json=row)
        assert (unlogged.status_code, unlogged.headers["retry-after"]) == (503, "1")
        assert unlogged.json()["error"] == "the prediction log cannot be written"
        label = {"labels": [{"prediction_id": "a", "label": 1.5}]}
        assert client.post("/feedback", json=label).status_code == 503
        unready = client.get("/health/ready")
        assert unready.status_code == 503
        assert unready.json()["reason"] == "the prediction log cannot be written"
        assert client.get("/health/live").status_code == 200
        service.log_dir.unlink()
        assert client.get("/health/ready").status_code == 200
        assert client.post("/invocations", json=row).status_code == 200
        assert client.post("/feedback", json=label).status_code == 200
    (segment,) = read_segments(service.log_dir, "predictions")
    assert len(segment.rows) == 1


def test_too_many_requests_at_once_are_sent_away(bundles: Any, service: Any) -> None:
    process = service.start(bundles.diabetes, "--serve", "--max-in-flight", "0")
    service.wait_for(process, state="serving")
    response = httpx.post(f"{service.url}/invocations", json={"inputs": [[0.01] * 10]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert httpx.get(f"{service.url}/health/ready").status_code == 200
    assert 'kind="overloaded"} 1' in httpx.get(f"{service.url}/metrics").text


def test_a_bundle_that_answers_otherwise_is_not_ready(
    bundles: Any, service: Any, writers: Any
) -> None:
    folder = shutil.copytree(bundles.diabetes, service.root / "bundle")
    golden = json.loads((folder / "golden.json").read_text())
    golden["predictions"][4] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    writers.manifest(folder)
    process = service.start(folder, "--serve")
    service.wait_for(process, state="serving")
    response = httpx.get(f"{service.url}/health/ready")
    assert response.status_code == 503
    assert response.json()["reason"] == "1 golden predictions differ: rows 4"
