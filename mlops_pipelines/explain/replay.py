"""Answers one logged request again, in the bundle that answered it, and compares."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.explain.logged_days import days_that_may_hold
from mlops_pipelines.serve.segments import read_segments
from mlops_pipelines.serve.times import written
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry


_ANSWERED = {"prediction": "predictions", "score": "scores", "probabilities": "probabilities"}
"""What is logged of a row, and what a bundle calls it in its answer to all rows."""


@dataclass(frozen=True)
class Replay:
    """A prediction as it was logged and as its bundle answers it now: value, score, probabilities.

    A bundle from before probabilities were told is compared without them.
    """

    prediction_id: str
    version: int
    predicted_at: str
    logged: dict[str, Any]
    replayed: dict[str, Any]

    @property
    def identical(self) -> bool:
        """Whether all that was answered agrees to the last bit."""
        return self.logged == self.replayed


def replay(
    registry: Registry, store: Store, log_dir: Path, model: str, prediction_id: str
) -> Replay:
    """Answer the request of `prediction_id` again; raises NotFoundError, ReleaseError.

    The whole request is answered, since a batch may be summed in another order than a row alone.
    """
    from mlops_pipelines.release.bundle import bundle_of

    rows, place = _request(store, log_dir, model, prediction_id)
    asked = rows[place]
    bundle = bundle_of(registry, store, model, asked["version"])
    columns = columns_of(bundle)
    answered = _answer(bundle, [[row["features"].get(name) for name in columns] for row in rows])
    return Replay(
        prediction_id=prediction_id,
        version=asked["version"],
        predicted_at=asked["predicted_at"],
        logged={name: asked[name] for name in _ANSWERED if _ANSWERED[name] in answered},
        replayed={
            name: None if answered[told] is None else answered[told][place]
            for name, told in _ANSWERED.items()
            if told in answered
        },
    )


def ask_bundle(bundle: Path, rows: list[list[Any]]) -> subprocess.CompletedProcess[str]:
    """The bundle's own server code, having answered `rows` in a process of its own, or not.

    Raises TargetError where the bundle is not what was built, or signed.
    """
    from mlops_pipelines.release.signing import check
    from mlops_pipelines.release.targets.worker import serve_command, serve_environment

    check(bundle)
    return subprocess.run(
        [*serve_command(bundle), "--answer"],
        input=json.dumps({"rows": rows}),
        capture_output=True,
        text=True,
        check=False,
        env=serve_environment(bundle),
    )


def last_line(text: str) -> str:
    """What a process said last."""
    return (text.strip().splitlines() or ["no message"])[-1]


def columns_of(bundle: Path) -> list[str]:
    """The names of the features that a bundle's model takes, in order."""
    meta = json.loads((bundle / "bundle.json").read_text())
    return [column["name"] for column in meta["columns"]]


def _answer(bundle: Path, rows: list[list[Any]]) -> dict[str, Any]:
    done = ask_bundle(bundle, rows)
    if done.returncode != 0:
        raise ReleaseError(f"bundle {bundle.name} does not answer: {last_line(done.stderr)}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _request(
    store: Store, log_dir: Path, model: str, prediction_id: str
) -> tuple[list[dict[str, Any]], int]:
    """All rows of the request, in order, and the place of the row asked for."""
    found = _in_log(log_dir, prediction_id) or _in_days(store, log_dir, model, prediction_id)
    if not found:
        raise NotFoundError(
            f"{model} has no prediction {prediction_id}: it is neither in the log "
            f"nor in any day of predictions/{model}"
        )
    found.sort(key=lambda row: row["request_row"])
    place = next(i for i, row in enumerate(found) if row["prediction_id"] == prediction_id)
    return found, place


def _in_log(log_dir: Path, prediction_id: str) -> list[dict[str, Any]]:
    for segment in read_segments(log_dir, "predictions"):
        # A caller may use a request id again, but no two requests are logged at one time.
        asked = [
            (r.request_id, r.logged_at) for r in segment.rows if r.prediction_id == prediction_id
        ]
        if asked:
            names = segment.header["columns"]
            return [
                {
                    "prediction_id": row.prediction_id,
                    "request_row": row.request_row,
                    "predicted_at": row.predicted_at,
                    "version": segment.header["model_version"],
                    "prediction": row.prediction,
                    "score": row.score,
                    "probabilities": row.probabilities,
                    "features": dict(zip(names, row.features, strict=True)),
                }
                for row in segment.rows
                if (row.request_id, row.logged_at) == asked[0]
            ]
    return []


def _in_days(store: Store, log_dir: Path, model: str, prediction_id: str) -> list[dict[str, Any]]:
    for key in days_that_may_hold(store, log_dir, model, prediction_id):
        import pyarrow.compute as pc

        from mlops_pipelines.monitor.tables import read_table
        from mlops_pipelines.spec import RESERVED_COLUMNS

        # A caller may use a request id again, but no two requests are logged at one time.
        request = ["request_id", "logged_at"]
        ids = read_table(store, key, ["prediction_id", *request])
        asked = ids.filter(pc.equal(ids["prediction_id"], prediction_id))
        if not len(asked):
            continue
        whole = read_table(store, key)
        return [
            {
                "prediction_id": row["prediction_id"],
                "request_row": row["request_row"],
                "predicted_at": written(row["predicted_at"]),
                "version": row["model_version"],
                "prediction": row["prediction"],
                "score": row["score"],
                "probabilities": row["probabilities"],
                "features": {
                    name: value for name, value in row.items() if name not in RESERVED_COLUMNS
                },
            }
            for row in whole.filter(
                pc.and_(*(pc.equal(whole[name], asked[name][0]) for name in request))
            ).to_pylist()
        ]
    return []
