from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.feedback import Label, feedback_answer, parse_labels
from mlops_pipelines.serve.segments import read_segments
from mlops_pipelines.serve.signature import BadRequest, Limits
from mlops_pipelines.serve.times import parse_time, written

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def bundle(classes: tuple[Any, ...] | None) -> Bundle:
    task = "regression" if classes is None else "multiclass_classification"
    return Bundle(
        path=Path("/bundle"),
        model="m",
        version=1,
        task=task,
        columns=(),
        target="y",
        classes=classes,
        positive=None,
        trusted_types=(),
        run_id="",
        snapshot="",
        digest="",
    )


def parsed(document: Any, classes: tuple[Any, ...] | None = (0, 1), rows: int = 10) -> list[Label]:
    body = orjson.dumps(document)
    return parse_labels(body, "application/json", bundle(classes), NOON, Limits(rows=rows))


def label(truth: Any, **more: Any) -> dict[str, Any]:
    return {"labels": [{"prediction_id": "a", "label": truth, **more}]}


@pytest.mark.parametrize(
    ("classes", "given_label", "expected"),
    [
        ((0, 1), 1, 1),
        ((0, 1), 1.0, 1),
        ((False, True), True, True),
        (("no", "yes"), "yes", "yes"),
        (None, 3, 3.0),
        (None, -0.5, -0.5),
    ],
)
def test_a_label_is_a_class_or_a_number(
    classes: tuple[Any, ...] | None, given_label: Any, expected: Any
) -> None:
    (found,) = parsed(label(given_label), classes)
    assert found == Label("a", expected, None)
    assert type(found.label) is type(expected)


def test_the_time_is_kept_in_utc() -> None:
    (found,) = parsed(label(1, time="2026-02-28T13:00:00.25+02:00"))
    assert found.time == datetime(2026, 2, 28, 11, 0, 0, 250_000, tzinfo=UTC)


def test_a_label_may_come_alone() -> None:
    alone = {"prediction_id": "a", "label": 1, "time": "2026-02-28T11:00:00Z"}
    assert parsed(alone) == parsed({"labels": [alone]})


def test_labels_of_one_request_stay_in_their_order() -> None:
    twice = [{"prediction_id": "a", "label": truth} for truth in (0, 1)]
    assert [found.label for found in parsed({"labels": twice})] == [0, 1]


def test_the_answer_lists_the_first_unknown_ids_and_counts_all() -> None:
    ids = [f"{number}" for number in range(150)]
    assert feedback_answer(200, ids) == {
        "accepted": 200,
        "unknown": ids[:100],
        "unknown_count": 150,
    }
    assert feedback_answer(1, []) == {"accepted": 1, "unknown": [], "unknown_count": 0}


@pytest.mark.parametrize(
    ("document", "classes", "message"),
    [
        (
            {"prediction_id": "a"},
            (0, 1),
            "label 0: expected an object with prediction_id and label",
        ),
        (
            {"prediction_id": "a", "label": 1, "labels": []},
            (0, 1),
            "label 0: only prediction_id, label and time are allowed",
        ),
        ({"label": 1}, (0, 1), 'expected {"labels": [{"prediction_id", "label", "time"?}, …]}'),
        (label(2), (0, 1), "label 0: label: expected one of [0,1]"),
        (label(True), (0, 1), "label 0: label: expected one of [0,1]"),
        (label(None), ("no", "yes"), 'label 0: label: expected one of ["no","yes"]'),
        (label("3"), None, "label 0: label: expected a number"),
        (label(True), None, "label 0: label: expected a number"),
        (
            {"labels": [{"prediction_id": "a"}]},
            (0, 1),
            "label 0: expected an object with prediction_id and label",
        ),
        (label(1, extra=1), (0, 1), "label 0: only prediction_id, label and time are allowed"),
        (
            {"labels": [{"prediction_id": "", "label": 1}]},
            (0, 1),
            "label 0: prediction_id: expected a string of 1 to 128 characters, "
            "none of them a control character",
        ),
        (label(1, time=5), (0, 1), "label 0: time: expected an RFC 3339 time"),
        (
            label(1, time="yesterday"),
            (0, 1),
            "label 0: expected an RFC 3339 time with an offset, like 2026-01-31T09:30:00Z",
        ),
        ({"labels": []}, (0, 1), 'expected {"labels": [{"prediction_id", "label", "time"?}, …]}'),
        (
            {"labels": [], "x": 1},
            (0, 1),
            'expected {"labels": [{"prediction_id", "label", "time"?}, …]}',
        ),
    ],
)
def test_a_label_that_does_not_fit_says_why(
    document: Any, classes: tuple[Any, ...] | None, message: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed(document, classes)
    assert (caught.value.status, str(caught.value)) == (400, message)


def test_too_many_labels_are_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        parsed({"labels": label(1)["labels"] * 3}, rows=2)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-13-01T12:00:00Z",
        "2026-03-01T12:00:61Z",
        "0001-01-01T00:00:00+23:59",
        "2026-03-01T12:05:01Z",
    ],
)
def test_a_time_that_is_none_or_lies_ahead_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an RFC 3339 time|more than five minutes"):
        parse_time(text, NOON)


# Hypothesis takes its bounds without a zone, and draws in the one given.
@given(st.datetimes(max_value=datetime(2026, 3, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_written_time_is_read_again(time: datetime) -> None:
    assert parse_time(written(time), NOON) == time


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_time(text, NOON).tzinfo is UTC


def test_a_worker_says_which_ids_are_unknown_and_keeps_their_labels(
    bundles: Any, service: Any
) -> None:
    process = service.start(bundles.fragile, "--serve")
    service.wait_for(process, state="serving")
    with httpx.Client(base_url=service.url) as client:
        rows = {"inputs": [[0.25], [0.75]], "prediction_ids": ["a", "b"]}
        assert client.post("/invocations", json=rows).status_code == 200
        labels = [{"prediction_id": each, "label": True} for each in ("a", "x", "b", "x")]
        told = client.post("/feedback", json={"labels": labels})
        alone = client.post("/feedback", json=labels[0])
    assert (told.status_code, told.json()) == (
        200,
        {"accepted": 4, "unknown": ["x"], "unknown_count": 1},
    )
    assert alone.json() == {"accepted": 1, "unknown": [], "unknown_count": 0}
    (segment,) = read_segments(service.log_dir, "labels")
    assert [row.prediction_id for row in segment.rows] == ["a", "x", "b", "x", "a"]
