from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from mlops_pipelines.logs import progress, step, watched


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="mlops.test")


LOGGER = logging.getLogger("mlops.test")


def told(captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captured.readouterr().err.splitlines()]


def test_a_step_says_what_it_did_and_how_long_it_took(
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLOPS_LOG", "json")

    with step(LOGGER, "load", model="churn", run="r1") as counted:
        counted["rows"] = 12

    (line,) = told(capsys)
    assert line.pop("time").endswith("+00:00")
    seconds = line.pop("seconds")
    assert line == {"level": "info", "step": "load", "model": "churn", "run": "r1", "rows": 12}
    assert caplog.record_tuples == [
        ("mlops.test", logging.INFO, f"step=load model=churn rows=12 seconds={seconds}")
    ]


def test_a_failure_says_what_was_being_processed_and_goes_on(
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLOPS_LOG", "json")

    def fail() -> None:
        with step(LOGGER, "load", model="churn") as counted:
            counted["rows"] = 0
            raise ValueError("no rows\nand a second line")

    with pytest.raises(ValueError, match="no rows"):
        fail()

    (line,) = told(capsys)
    assert (line["level"], line["rows"], line["error"]) == ("error", 0, "ValueError: no rows")
    (_, level, message) = caplog.record_tuples[0]
    assert level == logging.ERROR
    assert message.startswith("step=load model=churn rows=0 seconds=")
    assert message.endswith(" failed: ValueError: no rows")


def test_an_error_without_words_is_told_by_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt), step(LOGGER, "load"):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), step(LOGGER, "load"):
        raise RuntimeError

    ((_, _, message),) = caplog.record_tuples
    assert message.endswith(" failed: RuntimeError")


def test_standard_error_is_silent_unless_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLOPS_LOG", raising=False)

    with step(LOGGER, "load"):
        pass

    assert capsys.readouterr().err == ""


def test_a_value_that_is_no_json_is_told_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LOG", "json")

    with step(LOGGER, "load", of={1}, number=float("nan")):
        pass

    assert told(capsys)[0]["of"] == "{1}"


def test_who_watches_is_told_of_steps_and_shares_and_no_longer_afterwards() -> None:
    heard: list[tuple[str, float | None]] = []
    with watched(lambda name, share: heard.append((name, share))), step(LOGGER, "load"):
        progress("reading", 0.5)
    with step(LOGGER, "fit"):
        progress("fitting", 1.0)
    assert heard == [("load", None), ("reading", 0.5)]
