from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from mlops_pipelines.errors import BusyError, TargetError
from mlops_pipelines.release.targets.places import Places, Wanted
from mlops_pipelines.release.targets.process import ProcessTarget
from mlops_pipelines.release.targets.processes import end, of_control_dir, staying
from mlops_pipelines.release.targets.worker import KEPT_ENVIRONMENT, LOG_BYTES, start_worker
from mlops_pipelines.serve.control import workers
from tests.release.conftest import MODEL, World, free_port
from tests.release.load import load, one_row


def answered_by(address: str) -> int:
    with urllib.request.urlopen(f"{address}/health/ready", timeout=10) as response:
        return int(json.load(response)["version"])


def another(shared: World) -> ProcessTarget:
    """The same place, as a process that has just started would see it."""
    return ProcessTarget(shared.home, "127.0.0.1", (1024, 1025))


def start_leftover(shared: World, version: int) -> subprocess.Popen[bytes]:
    """A worker that never takes traffic, as a killed run leaves it."""
    places = Places(shared.home)
    control_dir, log_dir, worker_log = places.prepare(MODEL)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return start_worker(shared.bundle(version), log_dir, control_dir, worker_log, listener)


def test_nothing_runs_at_first(shared: World) -> None:
    assert shared.target.service(MODEL) is None
    assert shared.target.metrics(MODEL) == {}
    waiting = shared.target.scale("churn", 2)
    assert (waiting.version, waiting.replicas, waiting.wanted, waiting.address) == (None, (), 2, "")
    shared.target.stop("churn")


def test_versions_and_replicas_change_under_load_without_a_dropped_request(shared: World) -> None:
    first = shared.target.switch(MODEL, shared.bundle(1), 1)
    assert (first.version, len(first.replicas), first.wanted) == (1, 1, 1)
    with load(first.address, one_row(shared.bundle(1))) as seen:
        second = another(shared).switch(MODEL, shared.bundle(2), 2)
        assert (second.version, len(second.replicas), second.wanted) == (2, 2, 2)
        assert len(shared.target.scale(MODEL, 1).replicas) == 1
        third = shared.target.switch(MODEL, shared.bundle(1), 1)
        time.sleep(0.2)
    assert seen.failures == []
    assert set(seen.answers) == {1, 2}
    assert {first.address, second.address, third.address} == {first.address}
    assert answered_by(first.address) == 1
    counted = shared.target.metrics(MODEL)[third.replicas[0].name]
    rows = [sample.value for sample in counted if sample.name == "mlops_rows_total"]
    assert len(rows) == 1
    assert 0 < rows[0] <= seen.answers[1]


def test_a_crashed_worker_is_missed_and_started_again(shared: World) -> None:
    shared.target.switch(MODEL, shared.bundle(1), 1)
    serving = shared.target.scale(MODEL, 2)
    os.kill(int(serving.replicas[0].name), signal.SIGKILL)
    staying([int(serving.replicas[0].name)], 5)
    seen = another(shared).service(MODEL)
    assert seen is not None
    assert (len(seen.replicas), seen.wanted) == (1, 2)
    assert len(shared.target.scale(MODEL, 2).replicas) == 2
    assert len(shared.target.scale(MODEL, 1).replicas) == 1


def test_switching_again_changes_nothing(shared: World) -> None:
    first = shared.target.switch(MODEL, shared.bundle(1), 1)
    again = another(shared).switch(MODEL, shared.bundle(1), 1)
    assert [info.name for info in again.replicas] == [info.name for info in first.replicas]
    assert another(shared).service(MODEL) == shared.target.service(MODEL)


def test_a_stopped_model_keeps_its_port_until_another_is_declared(shared: World) -> None:
    first = shared.target.switch(MODEL, shared.bundle(1), 1)
    port = int(first.address.rpartition(":")[2])
    shared.target.stop(MODEL)
    assert shared.target.service(MODEL) is None
    assert of_control_dir(Places(shared.home).control_dir(MODEL)) == []
    assert Places(shared.home).ports_of_others("churn") == {port}
    assert shared.target.switch(MODEL, shared.bundle(1), 1).address == first.address
    declared = free_port()
    moved = shared.target.switch(MODEL, shared.bundle(1), 1, declared)
    assert moved.address.endswith(f":{declared}")
    assert answered_by(moved.address) == 1


def test_a_taken_port_moves_nothing(shared: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        full = ProcessTarget(shared.home / "full", "127.0.0.1", (port, port))
        with pytest.raises(TargetError, match=f"every port from {port} to {port} .* is taken"):
            full.switch(MODEL, shared.bundle(1), 1)
        serving = shared.target.switch(MODEL, shared.bundle(1), 1)
        with pytest.raises(TargetError, match=f"port {port} of 127.0.0.1 is taken"):
            shared.target.switch(MODEL, shared.bundle(2), 1, port)
        assert answered_by(serving.address) == 1
        assert shared.target.service(MODEL) == serving


def test_what_a_killed_run_left_is_swept(shared: World) -> None:
    serving = shared.target.switch(MODEL, shared.bundle(1), 1)
    left = {start_leftover(shared, 2).pid}
    control_dir = Places(shared.home).control_dir(MODEL)
    while not left & {info.pid for info in workers(control_dir)}:
        time.sleep(0.02)
    worker_log = Places(shared.home).worker_log(MODEL)
    worker_log.write_bytes(b"x" * (LOG_BYTES + 1))
    left.add(start_leftover(shared, 3).pid)
    assert (
        worker_log.stat().st_size < LOG_BYTES < worker_log.with_name("worker.log.1").stat().st_size
    )
    assert shared.target.tidy(MODEL) == ("ended 2 workers that an interrupted run had left",)
    assert not left & set(of_control_dir(control_dir))
    assert shared.target.tidy(MODEL) == ()
    assert shared.target.service(MODEL) == serving


def test_a_hung_worker_is_replaced(shared: World) -> None:
    serving = shared.target.switch(MODEL, shared.bundle(1), 1)
    os.kill(int(serving.replicas[0].name), signal.SIGSTOP)
    try:
        assert answered_by(shared.target.switch(MODEL, shared.bundle(2), 1).address) == 2
    finally:
        end([int(serving.replicas[0].name)], 1)


def test_the_lock_names_its_holder_and_no_worker_inherits_it(shared: World) -> None:
    with (
        shared.target.lock(MODEL, "run 1234"),
        shared.target.lock(MODEL, "the same thread again"),
    ):
        taken = _take_elsewhere(shared)
        assert taken.startswith("BusyError cancer: run 1234 (pid ")
        assert "holds the release lock since 20" in taken
    assert _take_elsewhere(shared) == "taken"
    os.environ["MLOPS_TEST_SECRET"] = "hush"
    try:
        serving = shared.target.switch(MODEL, shared.bundle(2), 1)
    finally:
        del os.environ["MLOPS_TEST_SECRET"]
    # The worker outlives its starter, and inherits neither the lock nor what it need not know.
    assert _take_elsewhere(shared) == "taken"
    inherited = psutil.Process(int(serving.replicas[0].name)).environ()
    assert set(inherited) <= {
        *KEPT_ENVIRONMENT,
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "LC_CTYPE",
    }


def _take_elsewhere(shared: World) -> str:
    import threading

    said = []

    def take() -> None:
        try:
            with another(shared).lock(MODEL, "another"):
                said.append("taken")
        except BusyError as error:
            said.append(f"BusyError {error}")

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return said[0]


def test_a_home_that_cannot_be_written_is_one_line(shared: World) -> None:
    home = shared.home / "file"
    home.write_text("not a folder")
    target = ProcessTarget(home, "127.0.0.1", (1024, 1025))
    with pytest.raises(TargetError, match="cannot be written") as caught:
        target.switch(MODEL, shared.bundle(1), 1)
    assert "\n" not in str(caught.value)


def test_sockets_lie_elsewhere_where_the_home_is_too_long(tmp_path: Path) -> None:
    short, long = Places(Path("/srv/mlops")), Places(tmp_path / ("x" * 90))
    assert short.control_dir(MODEL) == Path("/srv/mlops/cancer/run")
    control_dir, log_dir, worker_log = long.prepare(MODEL)
    try:
        assert len(str(control_dir)) < 60
        assert control_dir != long.control_dir("churn")
        assert control_dir.stat().st_mode & 0o777 == 0o700
        assert (log_dir, worker_log) == (long.log_dir(MODEL), long.worker_log(MODEL))
    finally:
        shutil.rmtree(control_dir)


def test_what_is_wanted_is_remembered(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert places.wanted(MODEL) == Wanted(None, 0)
    places.want(MODEL, Wanted(8101, 3))
    assert Places(tmp_path).wanted(MODEL) == Wanted(8101, 3)
    (tmp_path / MODEL / "service.json").write_text("{")
    with pytest.raises(TargetError, match=r"service.json cannot be read: .*; remove it"):
        places.wanted(MODEL)
