"""SIGKILL under load: no row that was acknowledged may be missing on the disk."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from benchmarks.common import say
from benchmarks.serving.contestants import OURS
from benchmarks.serving.model import Model
from benchmarks.serving.servers import Running, running
from benchmarks.serving.wire import Responses, connect, request
from benchmarks.serving.wrk import CONNECTIONS, LoadError

ROWS = (1, 1, 1, 7, 1, 64)
"""The sizes of the requests, in turn: single rows share a write, many have one of their own."""


@dataclass
class Kills:
    """What was acknowledged with 200, over so many kills, and how much of it is gone."""

    kills: int = 0
    rows: int = 0
    lost: int = 0
    refused: int = 0
    examples: list[str] = field(default_factory=list)


def kill_often(model: Model, folder: Path, times: int, seed: int = 0) -> Kills:
    """Start, load, kill, read the log; again and again. Raises LoadError, PeerError."""
    chance = random.Random(seed)
    found = Kills()
    acknowledged: dict[str, object] = {}
    bodies = [request(OURS.path, model.body("array", rows)) for rows in ROWS]
    for turn in range(times):
        with running(OURS, model, folder) as server:
            answers, refused = _until_killed(server, bodies, chance.uniform(0.05, 0.5))
        if not answers:
            raise LoadError("nothing was answered before the kill")
        acknowledged |= answers
        found.kills += 1
        found.refused += refused
        logged = dict(_logged(server.log_dir))
        missing = [i for i, said in acknowledged.items() if i not in logged or logged[i] != said]
        found.lost += len(missing)
        found.examples += missing[:3]
        found.rows += len(answers)
        for path in server.log_dir.glob("*.ndjson"):
            # Read once; the next turn writes segments of its own.
            path.unlink()
        acknowledged.clear()
        if turn % 5 == 4 or turn == times - 1:
            say(f"  {turn + 1}/{times} kills: {found.rows:,} rows acknowledged, {found.lost} lost")
    return found


def _until_killed(
    server: Running, bodies: list[bytes], seconds: float
) -> tuple[dict[str, object], int]:
    """Prediction id → prediction of every answer that arrived, even after the kill."""
    acknowledged: dict[str, object] = {}
    refused = 0
    turns = [
        cycle(bodies[n % len(bodies) :] + bodies[: n % len(bodies)]) for n in range(CONNECTIONS)
    ]
    open_ones = {}
    for turn in turns:
        connection = connect(server.port)
        open_ones[connection] = (Responses(), turn)
        connection.send(next(turn))
    killed = False
    deadline = time.monotonic() + seconds
    while open_ones:
        left = deadline - time.monotonic()
        if left <= 0 and not killed:
            os.kill(server.pid, signal.SIGKILL)
            killed, deadline = True, time.monotonic() + 5
            continue
        readable, _, _ = select.select(list(open_ones), (), (), max(0.0, left))
        if killed and not readable:
            raise LoadError("a connection stayed open after its server was killed")
        for connection in readable:
            responses, turn = open_ones[connection]
            try:
                data = connection.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                connection.close()
                del open_ones[connection]
                continue
            for status, body in responses.feed(data):
                if status == 200:
                    answer = json.loads(body)
                    ids, said = answer["prediction_ids"], answer["predictions"]
                    acknowledged |= dict(zip(ids, said, strict=True))
                else:
                    refused += 1
                try:
                    connection.send(next(turn))
                except OSError:
                    # Killed meanwhile; what it had answered is still read.
                    continue
    if not killed:
        raise LoadError("the server closed all connections before it was killed")
    return acknowledged, refused


def _logged(log_dir: Path) -> Iterator[tuple[str, object]]:
    """Read as the nightly run reads it."""
    from mlops_pipelines.serve.segments import read_segments

    for segment in read_segments(log_dir, "predictions"):
        for row in segment.rows:
            yield row.prediction_id, row.prediction
