"""A worker that is killed under load has every row on disk that it ever answered."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines.serve.segments import read_segments

KILLS = 4
CALLERS = 8


class Caller(threading.Thread):
    """Posts rows until told to stop, whatever becomes of the worker; keeps what it was told."""

    def __init__(self, address: tuple[str, int], body: bytes, stop: threading.Event) -> None:
        super().__init__()
        self.acknowledged: list[str] = []
        self._address = address
        self._body = body
        self._stop_asked = stop

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=5)
        headers = {"content-type": "application/json"}
        while not self._stop_asked.is_set():
            try:
                connection.request("POST", "/invocations", self._body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status == 200:
                    self.acknowledged += answer["prediction_ids"]
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                time.sleep(0.01)
        connection.close()


@pytest.mark.parametrize("options", [["--fsync"], ["--no-fsync"]])
def test_no_acknowledged_row_is_lost_by_a_kill(
    onnx_bundles: dict[str, Path], service: Any, options: list[str]
) -> None:
    stop = threading.Event()
    body = json.dumps({"inputs": [[0.01] * 10]}).encode()
    address = service.listener.getsockname()
    callers = [Caller(address, body, stop) for _ in range(CALLERS)]
    process = service.start(onnx_bundles["diabetes"], "--serve", *options)
    service.wait_for(process, state="serving")
    for caller in callers:
        caller.start()
    try:
        for _ in range(KILLS):
            answered = sum(len(caller.acknowledged) for caller in callers)
            while sum(len(caller.acknowledged) for caller in callers) < answered + 200:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process = service.start(onnx_bundles["diabetes"], "--serve", *options)
            service.wait_for(process, state="serving")
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    segments = list(read_segments(service.log_dir, "predictions"))
    logged = [row.prediction_id for segment in segments for row in segment.rows]
    acknowledged = [each for caller in callers for each in caller.acknowledged]
    assert len(acknowledged) >= KILLS * 200
    assert len(logged) == len(set(logged))
    assert set(acknowledged) <= set(logged)
    assert sum(segment.corrupt for segment in segments) == 0
