"""Workers as processes: killed, switched, drained, all under load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from mlops_pipelines.serve.control import ControlError, ask, receive_listener, workers
from mlops_pipelines.serve.segments import read_segments


@dataclass
class Load:
    """What the clients of a service saw: ids and versions of their answers, and every failure."""

    ids: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def load(url: str, row: list[float], clients: int = 8, fresh: int = 2) -> Iterator[Load]:
    """Keep-alive clients, and others that open a connection for each request."""
    seen = Load()
    stop = threading.Event()

    def ask_for_an_answer(client: httpx.Client) -> None:
        try:
            response = client.post("/invocations", json={"inputs": [row]})
        except httpx.HTTPError as exc:
            seen.failures.append(repr(exc))
            return
        if response.status_code != 200:
            seen.failures.append(response.text)
            return
        answer = response.json()
        seen.ids.extend(answer["prediction_ids"])
        seen.versions.append(answer["version"])

    def keep_alive() -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not stop.is_set():
                ask_for_an_answer(client)
                time.sleep(0.005)

    def anew() -> None:
        headers = {"connection": "close"}
        while not stop.is_set():
            with httpx.Client(base_url=url, timeout=30, headers=headers) as client:
                ask_for_an_answer(client)
            time.sleep(0.01)

    threads = [threading.Thread(target=keep_alive) for _ in range(clients)]
    threads += [threading.Thread(target=anew) for _ in range(fresh)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def logged_ids(service: Any) -> list[str]:
    segments = read_segments(service.log_dir, "predictions")
    return [row.prediction_id for segment in segments for row in segment.rows]


@pytest.fixture
def row(bundles: Any) -> list[float]:
    return bundles.cancer_rows.iloc[0].tolist()


@pytest.mark.parametrize("option", ["--fsync", "--no-fsync"])
def test_no_answered_row_is_lost_when_a_worker_is_killed(
    bundles: Any, service: Any, writers: Any, row: list[float], option: str
) -> None:
    process = service.start(bundles.cancer, "--serve", option)
    service.wait_for(process, state="serving")
    with load(service.url, row, fresh=0) as seen:
        writers.eventually(lambda: len(seen.ids) > 200)
        process.kill()
        process.wait()
        # The parent still holds the socket, so that the clients would wait for an answer.
        service.listener.close()
    assert set(seen.ids) <= set(logged_ids(service))
    assert len(seen.ids) == len(set(seen.ids))
    assert workers(service.control_dir) == []


def test_versions_are_switched_without_a_failed_request(
    bundles: Any, service: Any, writers: Any, row: list[float]
) -> None:
    old = service.start(bundles.cancer, "--serve", "--no-fsync")
    (retired,) = service.wait_for(old, state="serving")
    with load(service.url, row) as seen:
        # The new workers get the socket from the old one, as after a restart of everything else.
        listener = receive_listener(retired.ctl)
        new = [service.start(bundles.cancer_v2, "--no-fsync", listener=listener) for _ in range(2)]
        first, second = service.wait_for(*new, state="waiting")
        listener.close()
        service.listener.close()
        with service.private(first) as client:
            assert client.get("/health/ready").json()["state"] == "waiting"
        assert 2 not in seen.versions
        request = {"do": "take_over", "peers": [str(second.ctl)], "retire": [str(retired.ctl)]}
        reply = ask(first.ctl, request, timeout=30)
        assert reply == {
            "ok": True,
            "outcomes": {second.ctl.name: "done", retired.ctl.name: "done"},
        }
        told_at = len(seen.versions)
        assert old.wait(timeout=40) == 0
        writers.eventually(lambda: len(seen.versions) > told_at + 200)
        seen_by_then = len(seen.versions)
        writers.eventually(lambda: len(seen.versions) > seen_by_then + 50)
        served = {worker.pid: worker.state for worker in workers(service.control_dir)}
        assert served == {process.pid: "serving" for process in new}
    assert seen.failures == []
    assert set(seen.versions) == {1, 2}
    assert set(seen.versions[seen_by_then:]) == {2}
    assert sorted(logged_ids(service)) == sorted(seen.ids)
    answered_by = [
        segment.header["instance"].rpartition("-")[2]
        for segment in read_segments(service.log_dir, "predictions")
        if segment.rows
    ]
    assert set(answered_by) == {str(process.pid) for process in (old, *new)}


def test_a_switch_is_carried_through_without_whoever_asked_for_it(
    bundles: Any, service: Any, writers: Any
) -> None:
    old = service.start(bundles.diabetes, "--serve")
    stuck = service.start(bundles.diabetes, "--serve")
    new = service.start(bundles.cancer_v2)
    (retired,) = service.wait_for(old, state="serving")
    (silent,) = service.wait_for(stuck, state="serving")
    (taker,) = service.wait_for(new, state="waiting")
    os.kill(stuck.pid, signal.SIGSTOP)
    retire = [str(retired.ctl), str(silent.ctl), str(service.control_dir / "v9-999999.ctl")]
    request = {"do": "take_over", "peers": [], "retire": retire}
    script = (
        "import os, signal, socket, sys\n"
        "with socket.socket(socket.AF_UNIX) as s:\n"
        "    s.connect(sys.argv[1])\n"
        "    s.sendall(sys.argv[2].encode() + b'\\n')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    asker = subprocess.run(
        [sys.executable, "-c", script, str(taker.ctl), orjson.dumps(request).decode()], check=False
    )
    assert asker.returncode == -signal.SIGKILL
    assert old.wait(timeout=40) == 0

    def took_over() -> list[str]:
        return [line for line in service.stderr.splitlines() if "took_over" in line]

    (line,) = writers.eventually(took_over)
    assert json.loads(line)["outcomes"] == {
        retired.ctl.name: "done",
        silent.ctl.name: "silent",
        "v9-999999.ctl": "gone",
    }
    states = {worker.pid: worker.state for worker in workers(service.control_dir, timeout=0.5)}
    assert states == {stuck.pid: "silent", new.pid: "serving"}
    # It was told to end, and does so as soon as it can.
    os.kill(stuck.pid, signal.SIGCONT)
    assert stuck.wait(timeout=40) == 0
    assert httpx.get(f"{service.url}/").json()["version"] == 2


def test_half_a_request_to_switch_changes_nothing(bundles: Any, service: Any) -> None:
    processes = [service.start(bundles.diabetes, "--serve"), service.start(bundles.cancer_v2)]
    (old,) = service.wait_for(processes[0], state="serving")
    (new,) = service.wait_for(processes[1], state="waiting")
    request = orjson.dumps({"do": "take_over", "peers": [], "retire": [str(old.ctl)]})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(new.ctl))
        connection.sendall(request)
    states = {worker.pid: worker.state for worker in workers(service.control_dir)}
    assert states == {old.pid: "serving", new.pid: "waiting"}


def test_a_worker_obeys_answers_who_it_is_and_leaves_nothing(bundles: Any, service: Any) -> None:
    process = service.start(bundles.diabetes)
    (worker,) = service.wait_for(process, state="waiting")
    assert (worker.model, worker.version, worker.pid) == ("diabetes", 1, process.pid)
    assert worker.listen == ("127.0.0.1", service.listener.getsockname()[1])
    assert [path.stat().st_mode & 0o777 for path in (worker.ctl, worker.http)] == [0o600] * 2
    for request, message in (
        ({"do": "dance"}, "'dance' is unknown"),
        ({}, "not understood: KeyError 'do'"),
        ({"do": "take_over"}, "not understood: KeyError 'peers'"),
        (
            {"do": "take_over", "peers": [], "retire": [str(worker.ctl)]},
            "a worker cannot retire itself",
        ),
    ):
        with pytest.raises(ControlError) as refused:
            ask(worker.ctl, request)
        assert str(refused.value) == message
    assert ask(worker.ctl, {"do": "serve"}) == {"ok": True, "state": "serving"}
    assert ask(worker.ctl, {"do": "serve"}) == {"ok": True, "state": "serving"}
    with httpx.Client(base_url=service.url) as client:
        assert client.get("/health/ready").status_code == 200
        (before,) = workers(service.control_dir)
        assert before.connections == 1
        assert ask(worker.ctl, {"do": "drain"}) == {"ok": True, "state": "draining"}
        # An open connection is still answered, and asked to end.
        last = client.post("/invocations", json={"inputs": [[0.01] * 10]})
        assert (last.status_code, last.headers["connection"]) == (200, "close")
    for request in ({"do": "serve"}, {"do": "hand_over"}):
        with pytest.raises((ControlError, OSError)):
            ask(worker.ctl, request)
    assert process.wait(timeout=40) == 0
    assert list(service.control_dir.iterdir()) == []
    events = [json.loads(line)["event"] for line in service.stderr.splitlines()]
    assert events == ["verified", "waiting", "serving", "draining", "stopped"]


def test_sigterm_finishes_what_is_in_flight(
    bundles: Any, service: Any, writers: Any, row: list[float]
) -> None:
    process = service.start(bundles.cancer, "--serve")
    service.wait_for(process, state="serving")
    with httpx.Client(base_url=service.url, timeout=30) as client:
        client.get("/health/live")
        process.send_signal(signal.SIGTERM)
        writers.eventually(lambda: [w.state for w in workers(service.control_dir)] == ["draining"])
        unready = client.get("/health/ready")
        assert (unready.status_code, unready.json()["reason"]) == (503, "draining")
        assert unready.headers["connection"] == "close"
    assert process.wait(timeout=40) == 0


def test_a_worker_outlives_whoever_started_it(bundles: Any, service: Any, writers: Any) -> None:
    script = (
        "import subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[2:], pass_fds=[int(sys.argv[1])],\n"
        "    start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
        "print(process.pid)\n"
    )
    fd = service.listener.fileno()
    starter = subprocess.run(
        [sys.executable, "-c", script, str(fd), sys.executable, "-P", "-m", "mlops_pipelines.serve"]
        + ["--bundle", bundles.diabetes, "--log-dir", service.log_dir]
        + ["--control-dir", service.control_dir, "--listen-fd", str(fd), "--serve"],
        pass_fds=[fd],
        env=writers.environment(bundles.diabetes),
        stdout=subprocess.PIPE,
        check=True,
    )
    pid = int(starter.stdout)
    try:
        writers.eventually(lambda: [w.pid for w in workers(service.control_dir)] == [pid])
        assert httpx.get(f"{service.url}/health/ready").status_code == 200
    finally:
        os.kill(pid, signal.SIGTERM)
        writers.eventually(lambda: not workers(service.control_dir))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--control-dir", "x" * 120], "is too long a folder for sockets: their paths have"),
        (["--bundle", "/nowhere"], "/nowhere/manifest.json cannot be read: No such file"),
    ],
)
def test_a_worker_that_cannot_start_says_why_in_one_line(
    bundles: Any, service: Any, writers: Any, options: list[str], message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlops_pipelines.serve", "--bundle", bundles.diabetes]
        + ["--log-dir", service.log_dir, "--port", "0", *options],
        env=writers.environment(bundles.diabetes),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("mlops_pipelines.serve: ")
    assert message in line


def test_a_port_that_is_taken_is_named(bundles: Any, service: Any, writers: Any) -> None:
    port = service.listener.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlops_pipelines.serve", "--bundle", bundles.diabetes]
        + ["--log-dir", service.log_dir, "--port", str(port)],
        env=writers.environment(bundles.diabetes),
        capture_output=True,
        check=False,
    )
    wanted = (
        f"mlops_pipelines.serve: 127.0.0.1:{port} cannot be listened on: Address already in use"
    )
    assert (done.returncode, done.stderr.decode().strip()) == (2, wanted)


def test_dead_sockets_are_ignored(service: Any) -> None:
    service.control_dir.mkdir()
    assert workers(service.control_dir) == []
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(service.control_dir / "v1-999999.ctl"))
    Path(service.control_dir / "v2-999999.ctl").touch()
    assert workers(service.control_dir) == []
    with pytest.raises(ConnectionError):
        ask(service.control_dir / "v1-999999.ctl", {"do": "who"})
