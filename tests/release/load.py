"""Callers who notice every dropped request."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Load:
    """What callers saw: answers by version, and every failure."""

    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


def one_row(bundle: Path) -> bytes:
    """A request for the first golden row of a bundle."""
    about = json.loads((bundle / "bundle.json").read_text())
    row = json.loads((bundle / "golden.json").read_text())["rows"][0]
    names = [column["name"] for column in about["columns"]]
    return json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode()


@contextmanager
def load(address: str, body: bytes, kept: int = 3, fresh: int = 1) -> Iterator[Load]:
    """Callers that keep their connection, and callers that open one for each request."""
    seen = Load()
    host = urlsplit(address)

    def call(keep: bool) -> None:
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=20)
        while not seen.ended.is_set():
            try:
                headers = {"content-type": "application/json"}
                connection.request("POST", "/invocations", body, headers)
                response = connection.getresponse()
                content = response.read()
                if response.status == 200:
                    seen.answers[int(response.headers["x-model-version"])] += 1
                else:
                    seen.failures.append(f"{response.status}: {content[:200]!r}")
                if not keep:
                    connection.close()
            except (OSError, http.client.HTTPException) as error:
                seen.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
        connection.close()

    callers = [
        threading.Thread(target=call, args=(keep,)) for keep in [True] * kept + [False] * fresh
    ]
    for caller in callers:
        caller.start()
    try:
        yield seen
    finally:
        seen.ended.set()
        for caller in callers:
            caller.join()
