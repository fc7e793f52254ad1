"""Keeps the requests that the model failed on where `mlops errors` finds them."""

from __future__ import annotations

from mlops_pipelines.serve.events import Events
from mlops_pipelines.serve.failures import Tally, error_rows
from mlops_pipelines.serve.log import LogError, SegmentWriter
from mlops_pipelines.serve.predictor import ModelError
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.times import now, written


class FailureLog:
    """The error segments of one worker."""

    def __init__(self, log: SegmentWriter, events: Events) -> None:
        self._log = log
        self._events = events
        self._tally = Tally()

    def keep(self, error: ModelError, rows: Rows, request_id: str, trace_id: str | None) -> str:
        """Keep a failed request; the id that it is found by. A full disk only loses the row here.

        The caller was told that the model failed: there is no answer that must be on the disk.
        """
        kept = error_rows(error, rows, request_id, trace_id, written(now()))
        first = kept[0]
        self._events.error(
            "model_failed",
            error_id=first.error_id,
            request_id=request_id,
            trace_id=trace_id,
            kind=first.kind,
            digest=first.digest,
            frames=first.frames[-8:],
        )
        lines = self._tally.lines(kept)
        if lines:
            self._log.append(lines, self._told)
        return first.error_id

    def _told(self, error: LogError | None) -> None:
        if error is not None:
            self._events.error("failure_not_kept", reason=str(error))
