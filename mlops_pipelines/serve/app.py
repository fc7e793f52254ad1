"""The ASGI application: one predictor, its log and its counts behind a few paths."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from mlops_pipelines.serve import __version__
from mlops_pipelines.serve.answering import Answering
from mlops_pipelines.serve.events import Events
from mlops_pipelines.serve.failure_log import FailureLog
from mlops_pipelines.serve.feedback import feedback_answer, parse_labels
from mlops_pipelines.serve.inference import RETRY, Inference, Reply
from mlops_pipelines.serve.known import KnownIds
from mlops_pipelines.serve.log import LogError
from mlops_pipelines.serve.logs import Logs
from mlops_pipelines.serve.metrics import Metrics
from mlops_pipelines.serve.predictor import ModelError, Predictor
from mlops_pipelines.serve.request import Gone, Receive, read_body, text_of
from mlops_pipelines.serve.segments import LabelRow
from mlops_pipelines.serve.signature import BadRequest, Limits
from mlops_pipelines.serve.times import now, written
from mlops_pipelines.serve.tokens import CHALLENGE, Tokens
from mlops_pipelines.serve.v2 import model_metadata, outputs_of, server_metadata

Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]
Handler = Callable[["Request"], Awaitable["Response"]]

NOWHERE: tuple[str, Handler | None] = ("", None)


@dataclass(frozen=True)
class Request:
    """A request whose body is still to be read; one over the private socket is `trusted`."""

    path: str
    headers: Headers
    trusted: bool
    receive: Receive


@dataclass(frozen=True)
class Response:
    """An answer: a JSON document (as bytes, where it is written already), or text as it is."""

    status: int
    content: Any
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    media: bytes = b"application/json"


class App:
    """Answers requests; `state` is the worker's (waiting, serving or draining).

    While draining each response asks its caller to open another connection.
    """

    def __init__(
        self,
        predictor: Predictor,
        logs: Logs,
        limits: Limits | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        meta = predictor.meta
        self.meta = meta
        self.state = "waiting"
        self.limits = limits or Limits()
        self.metrics = Metrics(meta.model, meta.version, meta.digest)
        self._predictor = predictor
        self._logs = logs
        self._known = KnownIds(logs.folder)
        self._events = Events()
        self._tokens = tokens or Tokens()
        self._disagreement = predictor.disagreement()
        self._outputs = outputs_of(predictor.answer_golden(1))
        self.inference = Inference(
            meta,
            Answering(predictor, logs.predictions, self.metrics),
            FailureLog(logs.errors, self._events),
            self.metrics,
            self._events,
            self.limits,
            self._tokens,
            self._outputs,
        )
        self.short_ways = {path.encode(): path for path in self.inference.paths}
        named = [f"/v2/models/{meta.model}", f"/v2/models/{meta.model}/versions/{meta.version}"]
        self._routes: dict[str, tuple[str, Handler]] = {
            "/": ("GET", self._index),
            "/feedback": ("POST", self._feedback),
            "/health/live": ("GET", self._live),
            "/health/ready": ("GET", self._ready),
            "/metrics": ("GET", self._metrics),
            "/openapi.json": ("GET", self._openapi),
            "/docs": ("GET", self._docs),
            "/v2": ("GET", self._server_metadata),
            "/v2/health/live": ("GET", self._live),
            "/v2/health/ready": ("GET", self._ready),
            **dict.fromkeys(named, ("GET", self._model_metadata)),
            **{f"{path}/ready": ("GET", self._ready) for path in named},
            **dict.fromkeys(self.inference.paths, ("POST", self._infer)),
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request."""
        path = scope["path"]
        # Clients of the inference protocol end some paths with a slash.
        method, handler = self._routes.get(path, self._routes.get(path.rstrip("/"), NOWHERE))
        if handler is None:
            known = ", ".join(self._routes)
            response = Response(404, {"error": f"no such path; there are {known}"})
        elif scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
            allow = [(b"allow", str(method).encode())]
            response = Response(405, {"error": f"only {method} is allowed here"}, allow)
        else:
            try:
                request = Request(path, dict(scope["headers"]), scope["client"] is None, receive)
                response = await handler(request)
            except Gone:
                self.metrics.errors["disconnected"] += 1
                return
        content = response.content
        if isinstance(content, str):
            body = content.encode()
        else:
            body = content if isinstance(content, bytes) else orjson.dumps(content)
        headers = [
            (b"content-type", response.media),
            (b"content-length", str(len(body)).encode()),
            *response.headers,
        ]
        # A body that was refused for its size or its slowness is not read to its end.
        if self.state == "draining" or response.status in (408, 413):
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
            self._logs.predictions.check()
        except LogError as exc:
            self._events.error("unlogged", reason=str(exc))
            return "the prediction log cannot be written"
        try:
            self._predictor.answer_golden(1)
        except ModelError as exc:
            self._events.error("unready", exception=str(exc))
            return "the model does not answer"
        return None

    async def _index(self, request: Request) -> Response:
        paths = {path: method for path, (method, _) in self._routes.items() if path != "/"}
        return Response(200, self._who() | {"endpoints": paths})

    async def _live(self, request: Request) -> Response:
        return Response(200, {"live": True})

    async def _ready(self, request: Request) -> Response:
        reason = self.unready()
        # Clients of the inference protocol look for the model as `name`.
        answer = {"name": self.meta.model, "ready": reason is None, "state": self.state}
        answer |= self._who()
        return Response(503, answer | {"reason": reason}) if reason else Response(200, answer)

    async def _metrics(self, request: Request) -> Response:
        waiting = self.inference.waiting
        text = self.metrics.render(self._logs.bytes_written, self._logs.syncs, waiting)
        return Response(200, text, media=b"text/plain; version=0.0.4; charset=utf-8")

    @cached_property
    def _document(self) -> dict[str, Any]:
        from mlops_pipelines.serve.examples import Examples
        from mlops_pipelines.serve.openapi import openapi

        return openapi(self.meta, Examples(self._predictor), self.limits, self._tokens.needed)

    async def _openapi(self, request: Request) -> Response:
        return Response(200, self._document)

    async def _docs(self, request: Request) -> Response:
        from mlops_pipelines.serve.page import CONTENT_SECURITY_POLICY, page

        policy = [(b"content-security-policy", CONTENT_SECURITY_POLICY.encode())]
        return Response(200, page(self._document), policy, b"text/html; charset=utf-8")

    async def _server_metadata(self, request: Request) -> Response:
        return Response(200, server_metadata(__version__))

    async def _model_metadata(self, request: Request) -> Response:
        found = model_metadata(self.meta, self._predictor.runtime, self._outputs)
        return Response(200, found)

    async def _infer(self, request: Request) -> Response:
        replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        path, headers = request.path, request.headers
        try:
            body = await read_body(request.receive, headers, self.limits)
        except BadRequest as exc:
            self.inference.refuse(path, headers, exc, replied.set_result)
        else:
            self.inference.take(path, headers, body, replied.set_result, request.trusted)
        reply = await replied
        return Response(reply.status, reply.body, list(reply.headers))

    async def _feedback(self, request: Request) -> Response:
        headers = request.headers
        denied = None if request.trusted else self._tokens.check(headers)
        if denied is not None:
            self.metrics.errors["unauthorized"] += 1
            return Response(401, {"error": denied}, [CHALLENGE])
        try:
            body = await read_body(request.receive, headers, self.limits)
            received = now()
            media = text_of(headers, b"content-type")
            labels = parse_labels(body, media, self.meta, received, self.limits)
            rows = (
                LabelRow(
                    label.prediction_id,
                    label.label,
                    written(label.time) if label.time else None,
                    written(received),
                )
                for label in labels
            )
            lines = [orjson.dumps(list(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows]
            await self._logs.labels.append_and_wait(b"".join(lines))
        except BadRequest as exc:
            self.metrics.errors["refused"] += 1
            return Response(exc.status, {"error": str(exc)})
        except LogError as exc:
            self.metrics.errors["log"] += 1
            self._events.error("unlogged", reason=str(exc))
            return Response(503, {"error": "the prediction log cannot be written"}, [*RETRY])
        self.metrics.labels += len(labels)
        ids = [label.prediction_id for label in labels]
        unknown = await asyncio.to_thread(self._known.unknown, ids)
        return Response(200, feedback_answer(len(labels), unknown))

    def _who(self) -> dict[str, Any]:
        meta = self.meta
        return {"model": meta.model, "version": meta.version, "bundle": meta.digest}
