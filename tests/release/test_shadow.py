"""Logged requests asked again: of a challenger and the champion, by real workers over HTTP."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from mlops_pipelines.monitor.predictions import compact
from mlops_pipelines.release.logged import last_logged, logged_since
from mlops_pipelines.release.replay import Latency, Replay, replay, replay_beside_log
from mlops_pipelines.release.shadow import judged, shadow
from mlops_pipelines.release_spec import Shadow
from mlops_pipelines.store import Store
from tests.release.conftest import MODEL, World

ROWS = 150


@pytest.fixture(scope="module")
def asked(shared: World) -> World:
    """Version 1 has answered; two thirds of the rows are compacted, twenty of them still logged."""
    address = shared.target.switch(MODEL, shared.bundle(1), 1).address
    features = shared.rows.holdout.drop(columns="target")
    frame = features.sample(ROWS, replace=True, random_state=7)
    for start in (0, 100):
        for index in range(start, start + (100 if start == 0 else 50)):
            row = frame.iloc[index]
            body = {"dataframe_split": {"columns": list(frame), "data": [row.tolist()]}}
            request = urllib.request.Request(
                f"{address}/invocations",
                json.dumps(body).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.status == 200
        if start == 0:
            compact(shared.store, shared.target.log_dir(MODEL), MODEL)
    return shared


def test_the_last_rows_come_from_the_days_and_from_the_log_each_once(asked: World) -> None:
    log_dir = asked.target.log_dir(MODEL)
    rows = last_logged(asked.store, log_dir, MODEL, 1000)
    assert len(rows) == ROWS
    assert len({row.prediction_id for row in rows}) == ROWS
    assert [row.predicted_at for row in rows] == sorted(row.predicted_at for row in rows)
    assert last_logged(asked.store, log_dir, MODEL, 60) == rows[-60:]
    assert last_logged(asked.store, log_dir, MODEL, 0) == ()
    assert logged_since(log_dir, 1, rows[120].logged_at, 1000) == rows[120:]
    assert logged_since(log_dir, 2, rows[0].logged_at, 1000) == ()
    elsewhere = asked.home / "no-log"
    assert 0 < len(last_logged(asked.store, elsewhere, MODEL, 1000)) < ROWS
    assert last_logged(asked.store, elsewhere, "churn", 10) == ()


def test_a_challenger_is_compared_side_by_side(asked: World) -> None:
    found = shadow(
        Shadow(rows=120),
        asked.store,
        asked.target.log_dir(MODEL),
        MODEL,
        asked.bundle(3),
        asked.bundle(1),
    )
    assert found.passed, found.sentence
    assert found.replay is not None
    assert (found.replay.rows, found.replay.failed, found.replay.compared) == (120, 0, 120)
    assert (found.replay.champion, found.replay.not_comparable) == (1, 0)
    assert 0 < found.replay.differing < 60
    assert found.replay.largest_difference is not None
    assert found.replay.logged_latency is not None
    assert "120 logged rows replayed, 0 not answered" in found.sentence
    assert "| p95 (ms) |" in found.markdown()
    assert json.loads(json.dumps(found.document()))["replay"]["rows"] == 120
    assert found.figures()["shadow_rows"] == 120


def test_a_version_agrees_with_itself_and_with_its_log(asked: World) -> None:
    rows = last_logged(asked.store, asked.target.log_dir(MODEL), MODEL, 20)
    same = replay(rows, asked.bundle(1), asked.bundle(1))
    assert (same.agreement, same.largest_difference) == (1.0, 0.0)
    beside = replay_beside_log(rows, asked.bundle(1))
    assert (beside.agreement, beside.compared, beside.champion) == (1.0, 20, 1)
    assert replay_beside_log(rows, asked.bundle(3)).rows == 20


def test_a_challenger_that_fails_is_refused(asked: World) -> None:
    asked.fault.touch()
    try:
        declared = Shadow(rows=10)
        where = (asked.store, asked.target.log_dir(MODEL), MODEL)
        found = shadow(declared, *where, asked.bundle(2), asked.bundle(1))
    finally:
        asked.fault.unlink()
    assert not found.passed
    assert found.sentence.startswith("the shadow replay of 10 rows failed: a new worker ended with")


def test_a_champion_that_does_not_start_is_no_fault_of_the_challenger(
    asked: World, tmp_path: Path
) -> None:
    champion = tmp_path / "champion"
    shutil.copytree(asked.bundle(1), champion)
    next(champion.glob("model.*")).unlink()
    where = (asked.store, asked.target.log_dir(MODEL), MODEL)
    found = shadow(Shadow(rows=10), *where, asked.bundle(3), champion)
    assert found.passed, found.sentence
    assert found.replay is not None
    assert found.replay.compared == 10
    assert "; beside the log, since not both started (the bundle is refused: " in found.sentence


def test_rows_that_lack_a_column_are_said_and_not_asked(asked: World) -> None:
    rows = last_logged(asked.store, asked.target.log_dir(MODEL), MODEL, 3)
    for row in rows:
        row.features.pop("mean radius")  # type: ignore[attr-defined]
    found = judged(Shadow(), replay(rows, asked.bundle(3), asked.bundle(1)))
    assert found.passed
    assert found.sentence == (
        "no logged row can be asked again; 3 lack a column and are not comparable"
    )


def test_without_logged_rows_there_is_nothing_to_replay(tmp_path: Path) -> None:
    where = (Store(str(tmp_path / "store")), tmp_path / "log", MODEL, tmp_path, None)
    assert shadow(Shadow(), *where).sentence == "no logged requests yet"
    assert shadow(Shadow(rows=0), *where).passed
    (tmp_path / "store/predictions" / MODEL).mkdir(parents=True)
    (tmp_path / "store/predictions" / MODEL / "2026-01-01.parquet").write_bytes(b"half a file")
    found = shadow(Shadow(), *where)
    assert found.passed
    assert "2026-01-01.parquet is not Parquet" in found.sentence


FAST, SLOW = Latency(1.0, 2.0, 3.0), Latency(5.0, 20.0, 30.0)


@pytest.mark.parametrize(
    ("found", "declared", "fault"),
    [
        (Replay(200, 1, errors={"answered 500": 2}), {"errors": 0.01}, ""),
        (Replay(200, 1, errors={"answered 500": 2}), {}, "2 of 200 replayed rows were not"),
        (Replay(200, 1, latency=SLOW, champion_latency=FAST, compared=200), {}, "10.0 times"),
        (Replay(99, 1, latency=SLOW, champion_latency=FAST, compared=99), {}, ""),
        (
            Replay(
                200, 1, latency=Latency(1, 6, 9), champion_latency=Latency(1, 1, 1), compared=200
            ),
            {},
            "",
        ),
        (Replay(200, 1, compared=200, differing=40), {"agreement": 0.8}, ""),
        (Replay(200, 1, compared=200, differing=41), {"agreement": 0.8}, "79.50% of 200"),
        (Replay(200, None), {"agreement": 1}, ""),
    ],
)
def test_what_refuses_a_version(found: Replay, declared: dict[str, float], fault: str) -> None:
    result = judged(Shadow.model_validate(declared), found)
    assert result.passed == (not fault)
    assert fault in result.sentence


def test_numbers_agree_within_a_tenth_of_the_champions_deviation() -> None:
    from mlops_pipelines.release.replay import _Answer, _differing

    theirs = [0.0, 10.0]  # standard deviation 5
    mine = [0.4, 10.6]
    both = [(_Answer(a, a), _Answer(b, b)) for a, b in zip(mine, theirs, strict=True)]
    assert _differing(both, numeric=True) == 1
    assert _differing(both, numeric=False) == 2
    assert _differing([], numeric=True) == 0
