"""Callers: over HTTP, row by row, as a clinic's software would ask."""

from __future__ import annotations

import http.client
import itertools
import json
import select
import threading
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pandas as pd

from mlops_pipelines.demo.stage import request_body
from mlops_pipelines.logs import progress


@dataclass
class Answers:
    """What callers got back for rows of one night, in the order they asked."""

    ids: list[str] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    failed: int = 0


def ask_night(address: str, rows: pd.DataFrame, columns: Sequence[str], day: str) -> Answers:
    """Ask for each row alone, as of a time on `day`; a failed request is counted."""
    start = datetime.fromisoformat(f"{day}T08:00:00").replace(tzinfo=UTC)
    answers = Answers()
    with httpx.Client(base_url=address, timeout=30) as client:
        for place in range(len(rows)):
            progress("asking", place / len(rows))
            name = str(uuid.uuid4())
            response = client.post(
                "/invocations",
                json=request_body(rows.iloc[[place]], columns, [name]),
                headers={"X-Event-Time": (start + timedelta(seconds=20 * place)).isoformat()},
            )
            if response.status_code != 200:
                answers.failed += 1
                continue
            said = response.json()
            answers.ids.append(said["prediction_ids"][0])
            answers.predictions.append(said["predictions"][0])
            answers.versions.add(int(said["version"]))
    return answers


def send_labels(address: str, ids: Sequence[str], labels: Sequence[Any]) -> int:
    """Tell the server what turned out to be true; how many labels it took."""
    pairs = zip(ids, labels, strict=True)
    body = {"labels": [{"prediction_id": name, "label": label} for name, label in pairs]}
    response = httpx.post(f"{address}/feedback", json=body, timeout=30)
    response.raise_for_status()
    return int(response.json()["accepted"])


class SteadyCallers:
    """Callers that ask on and on while something else happens; counts what they got."""

    def __init__(self, address: str, rows: pd.DataFrame, columns: Sequence[str]) -> None:
        self._address = address
        self._bodies = [
            json.dumps(request_body(rows.iloc[[place]], columns)) for place in range(len(rows))
        ]
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]
        self._counting = threading.Lock()
        self.by_version: dict[int, int] = {}
        self.failed = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        headers = {"Content-Type": "application/json"}
        # The standard library's client: what these callers burn, the release beside them lacks.
        place = urlsplit(self._address)
        assert place.hostname is not None
        with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=30)) as line:
            for body in itertools.cycle(self._bodies):
                if self._stopping.is_set():
                    return
                try:
                    # A worker that leaves has closed its side meanwhile.
                    if line.sock is not None and select.select([line.sock], [], [], 0)[0]:
                        line.close()
                    line.request("POST", "/invocations", body, headers)
                    response = line.getresponse()
                    response.read()
                    version = int(response.headers.get("X-Model-Version", 0))
                    ok = response.status == 200
                except (OSError, http.client.HTTPException):
                    line.close()
                    version, ok = 0, False
                with self._counting:
                    self.failed += not ok
                    self.by_version[version] = self.by_version.get(version, 0) + ok
                self._stopping.wait(0.02)
