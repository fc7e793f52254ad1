"""From the bytes of one request for predictions to those of its reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.answering import Answering, Asked
from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.events import Events
from mlops_pipelines.serve.failure_log import FailureLog
from mlops_pipelines.serve.ids import uuid7
from mlops_pipelines.serve.log import LogError
from mlops_pipelines.serve.metrics import Metrics
from mlops_pipelines.serve.predictor import ModelError
from mlops_pipelines.serve.protocol import TableParser
from mlops_pipelines.serve.request import event_time, request_id, text_of
from mlops_pipelines.serve.rows import Rows
from mlops_pipelines.serve.signature import BadRequest, Limits
from mlops_pipelines.serve.tokens import CHALLENGE, Tokens
from mlops_pipelines.serve.trace import trace_id
from mlops_pipelines.serve.v2 import InferParser, infer_response

# A larger body is parsed in a thread, so that health is told meanwhile.
BYTES_IN_LOOP = 256 * 1024

Headers = Mapping[bytes, bytes]
Extra = tuple[tuple[bytes, bytes], ...]
RETRY: Extra = ((b"retry-after", b"1"),)


@dataclass(slots=True)
class Reply:
    """An answer in JSON; `headers` are those beside content type and length."""

    status: int
    body: bytes
    headers: Extra


@dataclass(slots=True)
class Pending:
    """A request that has not been replied to; `size` bytes of it are counted as held."""

    path: str
    id: str
    trace: str | None
    started: float
    size: int
    reply: Callable[[Reply], None]


@dataclass(slots=True)
class Parsed:
    """A request's rows, the time it says it is about, and how its answer is written."""

    rows: Rows
    about: str | None
    document: Callable[[Answered], dict[str, Any]]


class Inference:
    """Takes requests for predictions, whatever protocol they speak, and replies to each once."""

    def __init__(
        self,
        bundle: Bundle,
        answering: Answering,
        failures: FailureLog,
        metrics: Metrics,
        events: Events,
        limits: Limits,
        tokens: Tokens,
        outputs: tuple[str, ...],
    ) -> None:
        self._bundle = bundle
        self._answering = answering
        self._failures = failures
        self._metrics = metrics
        self._events = events
        self._limits = limits
        self._tokens = tokens
        self._tables = TableParser(bundle.columns, limits)
        self._tensors = InferParser(bundle, outputs, limits)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parse")
        self._held = 0
        self._model_headers: Extra = (
            (b"x-model", bundle.model.encode("ascii", "backslashreplace")),
            (b"x-model-version", str(bundle.version).encode()),
        )
        named = f"/v2/models/{bundle.model}"
        self._parsers: dict[str, Callable[[Headers, bytes], Parsed]] = {
            "/invocations": self._table,
            f"{named}/infer": self._tensor,
            f"{named}/versions/{bundle.version}/infer": self._tensor,
        }

    @property
    def paths(self) -> frozenset[str]:
        """Where predictions are asked for."""
        return frozenset(self._parsers)

    @property
    def waiting(self) -> int:
        """How many requests wait for the model."""
        return self._answering.waiting

    def take(
        self,
        path: str,
        headers: Headers,
        body: bytes,
        reply: Callable[[Reply], None],
        trusted: bool,
    ) -> None:
        """Answer what was sent to one of `paths`; `reply` is called once, in the event loop.

        A refusal may be replied before this returns. Who is `trusted` needs no token.
        """
        pending = self._pending(path, headers, len(body), reply)
        denied = None if trusted else self._tokens.check(headers)
        if denied is not None:
            self._refuse(pending, 401, "unauthorized", denied, (CHALLENGE,))
        elif self._metrics.in_flight > self._limits.in_flight or (
            self._held > max(self._limits.buffered_bytes, len(body))
        ):
            self._refuse(pending, 503, "overloaded", "too many requests at once", RETRY)
        elif headers.get(b"content-encoding", b"identity") != b"identity":
            self._refuse(pending, 415, "refused", "expected a body without Content-Encoding")
        elif len(body) <= BYTES_IN_LOOP:
            self._parsed(pending, partial(self._parsers[path], headers, body))
        else:
            loop = asyncio.get_running_loop()
            future = self._thread.submit(self._parsers[path], headers, body)
            future.add_done_callback(
                lambda done: loop.call_soon_threadsafe(self._parsed, pending, done.result)
            )

    def refuse(
        self, path: str, headers: Headers, exc: BadRequest, reply: Callable[[Reply], None]
    ) -> None:
        """Refuse a request that was not read to its end."""
        pending = self._pending(path, headers, 0, reply)
        self._refuse(pending, exc.status, "refused", str(exc))

    def _pending(
        self, path: str, headers: Headers, size: int, reply: Callable[[Reply], None]
    ) -> Pending:
        self._metrics.in_flight += 1
        self._held += size
        trace = trace_id(headers)
        named = request_id(headers) or trace or uuid7()
        return Pending(path, named, trace, time.perf_counter(), size, reply)

    def _parsed(self, pending: Pending, parse: Callable[[], Parsed]) -> None:
        try:
            parsed = parse()
        except BadRequest as exc:
            self._refuse(pending, exc.status, "refused", str(exc))
        except Exception as exc:  # noqa: BLE001 (whatever it is, the caller is answered)
            self._events.error("broken", exception=type(exc).__name__, request_id=pending.id)
            self._refuse(pending, 500, "internal", "the server failed")
        else:
            self._ask(pending, parsed)

    def _ask(self, pending: Pending, parsed: Parsed) -> None:
        done = partial(self._done, pending, parsed)
        self._answering.ask(Asked(parsed.rows, pending.id, parsed.about, pending.started, done))

    def _done(
        self, pending: Pending, parsed: Parsed, outcome: Answered | ModelError | LogError
    ) -> None:
        if isinstance(outcome, Answered):
            self._reply(pending, 200, orjson.dumps(parsed.document(outcome)))
        elif isinstance(outcome, ModelError):
            self._metrics.errors["model"] += 1
            error_id = self._failures.keep(outcome, parsed.rows, pending.id, pending.trace)
            error = {"error": "the model failed", "error_id": error_id, "request_id": pending.id}
            self._reply(pending, 500, orjson.dumps(error))
        else:
            self._events.error("unlogged", reason=str(outcome))
            self._refuse(pending, 503, "log", "the prediction log cannot be written", RETRY)

    def _refuse(
        self, pending: Pending, status: int, kind: str, message: str, headers: Extra = ()
    ) -> None:
        self._metrics.errors[kind] += 1
        self._events.warning(
            "refused",
            kind=kind,
            status=status,
            path=pending.path,
            request_id=pending.id,
            trace_id=pending.trace,
        )
        body = orjson.dumps({"error": message, "request_id": pending.id})
        self._reply(pending, status, body, headers)

    def _reply(self, pending: Pending, status: int, body: bytes, headers: Extra = ()) -> None:
        self._metrics.in_flight -= 1
        self._held -= pending.size
        self._metrics.request(status, time.perf_counter() - pending.started)
        named = (*self._model_headers, (b"x-request-id", pending.id.encode()))
        pending.reply(Reply(status, body, named + headers))

    def _table(self, headers: Headers, body: bytes) -> Parsed:
        rows = self._tables.parse(body, text_of(headers, b"content-type"))
        return Parsed(rows, event_time(headers), self._table_answer)

    def _tensor(self, headers: Headers, body: bytes) -> Parsed:
        length = headers.get(b"inference-header-content-length")
        media = text_of(headers, b"content-type")
        infer = self._tensors.parse(
            body, media, None if length is None else length.decode("latin-1")
        )

        def document(answered: Answered) -> dict[str, Any]:
            return infer_response(self._bundle, infer, answered)

        return Parsed(infer.rows, event_time(headers), document)

    def _table_answer(self, answered: Answered) -> dict[str, Any]:
        document: dict[str, Any] = {"predictions": answered.predictions}
        if answered.scores is not None:
            document["scores"] = answered.scores
        document["prediction_ids"] = answered.ids
        document["model"] = self._bundle.model
        document["version"] = self._bundle.version
        return document
