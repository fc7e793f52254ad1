"""The ASGI application: one predictor, its log and its counts behind a few paths."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson

from mlops_pipelines.serve.feedback import parse_labels
from mlops_pipelines.serve.log import LogError, SegmentWriter, uuid7
from mlops_pipelines.serve.metrics import Metrics
from mlops_pipelines.serve.predictor import Answer, ModelError, Predictor
from mlops_pipelines.serve.protocol import BadRequest, Limits, Rows, parse_rows
from mlops_pipelines.serve.request import Gone, Receive, event_time, read_body, text_of
from mlops_pipelines.serve.request import request_id as request_id_of
from mlops_pipelines.serve.segments import LabelRow, Prediction
from mlops_pipelines.serve.times import now, written

Send = Callable[[dict[str, Any]], Awaitable[None]]

# So many rows keep the event loop no longer than a health check may wait.
ROWS_IN_LOOP = 64
RETRY = (b"retry-after", b"1")

logger = logging.getLogger("mlops_pipelines.serve")


@dataclass(frozen=True)
class Response:
    """An answer: a JSON document, or text as it is."""

    status: int
    content: Any
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class App:
    """Answers requests; `state` is the worker's (waiting, serving or draining).

    While draining each response asks its caller to open another connection.
    """

    def __init__(
        self,
        predictor: Predictor,
        predictions: SegmentWriter,
        labels: SegmentWriter,
        limits: Limits | None = None,
    ) -> None:
        meta = predictor.meta
        self.meta = meta
        self.state = "waiting"
        self.metrics = Metrics(meta.model, meta.version, meta.digest)
        self._predictor = predictor
        self._predictions = predictions
        self._labels = labels
        self._limits = limits or Limits()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._disagreement = predictor.disagreement()
        self._model_headers = [
            (b"x-model", meta.model.encode("ascii", "backslashreplace")),
            (b"x-model-version", str(meta.version).encode()),
        ]
        self._routes = {
            "/": ("GET", self._index),
            "/invocations": ("POST", self._invocations),
            "/feedback": ("POST", self._feedback),
            "/health/live": ("GET", self._live),
            "/health/ready": ("GET", self._ready),
            "/metrics": ("GET", self._metrics),
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request."""
        method, handler = self._routes.get(scope["path"], (None, None))
        if handler is None:
            known = ", ".join(self._routes)
            response = Response(404, {"error": f"no such path; there are {known}"})
        elif scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
            allow = [(b"allow", str(method).encode())]
            response = Response(405, {"error": f"only {method} is allowed here"}, allow)
        else:
            try:
                response = await handler(scope, receive)
            except Gone:
                self.metrics.errors["disconnected"] += 1
                return
        is_text = isinstance(response.content, str)
        body = response.content.encode() if is_text else orjson.dumps(response.content)
        media = b"text/plain; version=0.0.4; charset=utf-8" if is_text else b"application/json"
        headers = [
            (b"content-type", media),
            (b"content-length", str(len(body)).encode()),
            *response.headers,
        ]
        # A body that was refused for its size is not read to its end.
        if self.state == "draining" or response.status == 413:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def unready(self) -> str | None:
        """Why this worker should get no traffic; None if it should."""
        if self.state == "draining":
            return "draining"
        if self._disagreement:
            return self._disagreement
        try:
            self._predictions.check()
        except LogError as exc:
            logger.error("unlogged", extra={"fields": {"reason": str(exc)}})
            return "the prediction log cannot be written"
        try:
            self._predictor.answer_golden(1)
        except ModelError as exc:
            self._report(exc)
            return "the model does not answer"
        return None

    async def _index(self, scope: Mapping[str, Any], receive: Receive) -> Response:
        paths = {path: method for path, (method, _) in self._routes.items() if path != "/"}
        return Response(200, self._who() | {"endpoints": paths})

    async def _live(self, scope: Mapping[str, Any], receive: Receive) -> Response:
        return Response(200, {"live": True})

    async def _ready(self, scope: Mapping[str, Any], receive: Receive) -> Response:
        reason = self.unready()
        answer = {"ready": reason is None, "state": self.state} | self._who()
        return Response(503, answer | {"reason": reason}) if reason else Response(200, answer)

    async def _metrics(self, scope: Mapping[str, Any], receive: Receive) -> Response:
        written_bytes = self._predictions.bytes_written + self._labels.bytes_written
        return Response(200, self.metrics.render(written_bytes))

    async def _invocations(self, scope: Mapping[str, Any], receive: Receive) -> Response:
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        if self.metrics.in_flight >= self._limits.in_flight:
            self.metrics.errors["overloaded"] += 1
            response = Response(503, {"error": "too many requests at once"}, [RETRY])
        else:
            self.metrics.in_flight += 1
            try:
                response = await self._answer(headers, receive, request_id, started)
            finally:
                self.metrics.in_flight -= 1
        self.metrics.request(response.status, time.perf_counter() - started)
        response.headers.extend(self._model_headers)
        response.headers.append((b"x-request-id", request_id.encode()))
        return response

    async def _answer(
        self, headers: dict[bytes, bytes], receive: Receive, request_id: str, started: float
    ) -> Response:
        try:
            body = await read_body(receive, self._limits.body_bytes)
            rows = parse_rows(
                body, text_of(headers, b"content-type"), self.meta.columns, self._limits
            )
            arrived = now()
            event = event_time(headers, arrived)
            answer = await self._predict(rows)
            ids = rows.prediction_ids or [uuid7() for _ in range(rows.n)]
            latency = round((time.perf_counter() - started) * 1000, 3)
            about = event or written(arrived)
            await self._predictions.append(_lines(rows, answer, ids, request_id, about, latency))
        except BadRequest as exc:
            self.metrics.errors["refused"] += 1
            return Response(exc.status, {"error": str(exc), "request_id": request_id})
        except ModelError as exc:
            self.metrics.errors["model"] += 1
            error = {"error": "the model failed", "error_id": self._report(exc)}
            return Response(500, error | {"request_id": request_id})
        except LogError as exc:
            return self._unlogged(exc)
        self.metrics.rows += rows.n
        scores = {} if answer.scores is None else {"scores": answer.scores}
        named = {"prediction_ids": ids, "model": self.meta.model, "version": self.meta.version}
        return Response(200, {"predictions": answer.predictions} | scores | named)

    async def _predict(self, rows: Rows) -> Answer:
        if rows.n <= ROWS_IN_LOOP:
            return self._predictor.predict(rows.columns)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._predictor.predict, rows.columns)

    async def _feedback(self, scope: Mapping[str, Any], receive: Receive) -> Response:
        headers = dict(scope["headers"])
        try:
            body = await read_body(receive, self._limits.body_bytes)
            received = now()
            media = text_of(headers, b"content-type")
            labels = parse_labels(body, media, self.meta, received, self._limits)
            await self._labels.append(
                LabelRow(
                    label.prediction_id,
                    label.label,
                    written(label.time) if label.time else None,
                    written(received),
                )
                for label in labels
            )
        except BadRequest as exc:
            self.metrics.errors["refused"] += 1
            return Response(exc.status, {"error": str(exc)})
        except LogError as exc:
            return self._unlogged(exc)
        self.metrics.labels += len(labels)
        return Response(200, {"accepted": len(labels)})

    def _unlogged(self, exc: LogError) -> Response:
        self.metrics.errors["log"] += 1
        logger.error("unlogged", extra={"fields": {"reason": str(exc)}})
        return Response(503, {"error": "the prediction log cannot be written"}, [RETRY])

    def _report(self, exc: ModelError) -> str:
        """Log where the model failed, without the cause's text; the id that leads to the line."""
        error_id = uuid7()
        cause = exc.__cause__
        frames = traceback.extract_tb(cause.__traceback__ if cause else None)
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        fields = {"error_id": error_id, "exception": str(exc), "frames": where}
        logger.error("model_failed", extra={"fields": fields})
        return error_id

    def _who(self) -> dict[str, Any]:
        meta = self.meta
        return {"model": meta.model, "version": meta.version, "bundle": meta.digest}


def _lines(
    rows: Rows,
    answer: Answer,
    ids: list[str],
    request_id: str,
    predicted_at: str,
    latency_ms: float,
) -> list[Prediction]:
    logged_at = written(now())
    nothing = [None] * rows.n
    scores = answer.scores or nothing
    probabilities = answer.probabilities or nothing
    features = zip(*rows.columns.values(), strict=True)
    return [
        Prediction(
            prediction_id=ids[row],
            request_id=request_id,
            request_row=row,
            predicted_at=predicted_at,
            logged_at=logged_at,
            prediction=answer.predictions[row],
            score=scores[row],
            probabilities=probabilities[row],
            latency_ms=latency_ms,
            features=list(values),
        )
        for row, values in enumerate(features)
    ]
