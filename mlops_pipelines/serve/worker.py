"""One server process: answers on the public socket when told to, leaves without a dropped request.

Workers of a model share one listening socket. A worker waits, serves, drains. Switching versions
is the work of a new worker (`take_over`), not of whoever asked for it: once asked, it is carried
through even if the asker dies, so that two versions are never left serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import uvicorn

from mlops_pipelines.serve.app import App
from mlops_pipelines.serve.connection import Connection
from mlops_pipelines.serve.control import SOCKET_PATH_BYTES, ControlError, ask, pid_of

# Connections that were accepted a moment ago are not counted yet.
DRAIN_AT_LEAST = 0.5
DRAIN_AT_MOST = 30.0
PEER_TIMEOUT = 5.0
TICKS_A_SECOND = 10
# Longer than the idle timeout of common load balancers (60 s), so that they close first.
KEEP_ALIVE = 75

logger = logging.getLogger("mlops_pipelines.serve")


def control_paths(control_dir: Path, version: int, pid: int) -> tuple[Path, Path]:
    """The private HTTP socket and the control socket of a worker. Raises ValueError: too long."""
    stem = control_dir.absolute() / f"v{version}-{pid}"
    paths = stem.with_name(stem.name + ".http"), stem.with_name(stem.name + ".ctl")
    longest = max(len(os.fsencode(path)) for path in paths)
    if longest > SOCKET_PATH_BYTES:
        raise ValueError(
            f"{control_dir} is too long a folder for sockets: their paths have {longest} bytes, "
            f"{SOCKET_PATH_BYTES} are possible; choose a shorter one"
        )
    return paths


class Worker(uvicorn.Server):
    """A uvicorn server whose public socket comes and goes; see `uvicorn.Server` for its life."""

    def __init__(
        self, app: App, listener: socket.socket, control_dir: Path | None, serve_at_once: bool
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=10,
            )
        )
        self._app = app
        self._started_at = time.time()
        self._listener: socket.socket | None = listener
        self._listen = listener.getsockname()[:2]
        self._public: asyncio.AbstractServer | None = None
        self._paths = (
            None
            if control_dir is None
            else control_paths(control_dir, app.meta.version, os.getpid())
        )
        self._serve_at_once = serve_at_once
        self._told_to_leave = False
        self._drains_since = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the private sockets, and the public one if this worker is to serve at once."""
        await super().startup(sockets=[])
        if self._paths is not None:
            http, ctl = (_private_socket(path) for path in self._paths)
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_unix_server(self._protocol, sock=http))
            self.servers.append(await asyncio.start_unix_server(self._control, sock=ctl))
        self._say("waiting", listen=self._listen)
        if self._serve_at_once:
            await self._serve_public()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is in flight and leave no socket behind."""
        self._drain()
        await super().shutdown()
        for path in self._paths or ():
            path.unlink(missing_ok=True)
        self._say("stopped")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if self._told_to_leave:
            self._drain()
        if self._app.state == "draining":
            drained = time.monotonic() - self._drains_since
            if (drained > DRAIN_AT_LEAST and not self._connections()) or drained > DRAIN_AT_MOST:
                self.should_exit = True
        if counter % TICKS_A_SECOND == 0:
            connections: set[Any] = self.server_state.connections
            instant = time.monotonic()
            for connection in tuple(connections):
                connection.sweep(instant)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM drains; a second one, or Ctrl-C, closes idle connections at once."""
        if sig == signal.SIGTERM and not self._told_to_leave:
            self._told_to_leave = True
        else:
            self.force_exit = self.should_exit
            self.should_exit = True

    def _protocol(self) -> asyncio.Protocol:
        return Connection(
            self._app, config=self.config, server_state=self.server_state, app_state={}
        )

    def _connections(self) -> int:
        """The public connections; a peer on a unix socket has no address."""
        connections: set[Any] = self.server_state.connections
        return sum(connection.client is not None for connection in connections)

    async def _serve_public(self) -> None:
        """Accept on the public socket. Raises ControlError when this worker is leaving."""
        if self._listener is None:
            raise ControlError("draining")
        if self._app.state == "serving":
            return
        self._app.state = "serving"
        loop = asyncio.get_running_loop()
        # A copy: the server closes its own, and the listener can still be handed over.
        public = await loop.create_server(
            self._protocol, sock=self._listener.dup(), backlog=self.config.backlog
        )
        if self._listener is None:
            public.close()
            raise ControlError("draining")
        self._public = public
        self._say("serving", listen=self._listen)

    def _drain(self) -> None:
        """Stop accepting; the accept queue lives on with the workers that share the socket."""
        if self._listener is None:
            return
        self._app.state = "draining"
        self._drains_since = time.monotonic()
        if self._public is not None:
            self._public.close()
        self._listener.close()
        self._listener = None
        self._say("draining", connections=self._connections())

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to the control socket: a line asked, a line answered."""
        reply: dict[str, Any]
        try:
            line = await reader.readline()
            if not line.endswith(b"\n"):
                # Half a line is from a caller that died while asking: it asked for nothing.
                writer.close()
                return
            reply = await self._obey(orjson.loads(line))
        except ControlError as exc:
            reply = {"ok": False, "error": str(exc)}
        except (LookupError, TypeError, ValueError) as exc:
            reply = {"ok": False, "error": f"not understood: {type(exc).__name__} {exc}"}
        answer = orjson.dumps(reply) + b"\n"
        if reply.get("handed_over") and self._listener is not None:
            with contextlib.suppress(OSError):
                _send_with(writer, answer, self._listener)
        else:
            writer.write(answer)
        writer.close()

    async def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "who":
                return self._who()
            case "serve":
                await self._serve_public()
            case "drain":
                self._drain()
            case "hand_over":
                if self._listener is None:
                    raise ControlError("draining")
                return {"ok": True, "handed_over": True}
            case "take_over":
                peers, retire = map(Path, request["peers"]), map(Path, request["retire"])
                return {"ok": True} | await self._take_over(list(peers), list(retire))
            case other:
                raise ControlError(f"{other!r} is unknown")
        return {"ok": True, "state": self._app.state}

    async def _take_over(self, peers: Sequence[Path], retire: Sequence[Path]) -> dict[str, Any]:
        """Serve, let the peers serve, then let the old ones drain; what became of each, by name."""
        reason = self._app.unready()
        if reason:
            raise ControlError(f"not ready: {reason}")
        if self._paths and self._paths[1] in retire:
            raise ControlError("a worker cannot retire itself")
        await self._serve_public()
        told = await asyncio.gather(*(_tell(peer, "serve") for peer in peers))
        left = await asyncio.gather(*(_tell(old, "drain") for old in retire))
        for old, outcome in zip(retire, left, strict=True):
            # The connection was taken, so the process with this id is the worker, alive.
            if outcome == "silent":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid_of(old), signal.SIGTERM)
        outcomes = {
            path.name: how for path, how in zip([*peers, *retire], told + left, strict=True)
        }
        self._say("took_over", outcomes=outcomes)
        return {"outcomes": outcomes}

    def _who(self) -> dict[str, Any]:
        meta = self._app.meta
        return {
            "model": meta.model,
            "version": meta.version,
            "bundle": meta.digest,
            "pid": os.getpid(),
            "started": self._started_at,
            "state": self._app.state,
            "connections": self._connections(),
            "http": str(self._paths[0]) if self._paths else None,
            "listen": None if self._listener is None else self._listen,
        }

    def _say(self, event: str, **fields: Any) -> None:
        logger.info(event, extra={"fields": fields})


async def _tell(ctl: Path, what: str) -> str:
    """Tell another worker to serve or drain: `done`, `gone`, `silent`, or why it refused."""
    try:
        await asyncio.to_thread(ask, ctl, {"do": what}, PEER_TIMEOUT)
    except TimeoutError:
        return "silent"
    except OSError:
        return "gone"
    except ControlError as exc:
        return str(exc)
    return "done"


def _private_socket(path: Path) -> socket.socket:
    """A unix socket bound to `path`, for this user alone."""
    # A dead process of the same id may have left one.
    path.unlink(missing_ok=True)
    private = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        private.bind(str(path))
    finally:
        os.umask(mask)
    return private


def _send_with(writer: asyncio.StreamWriter, line: bytes, listener: socket.socket) -> None:
    """Send a line with a descriptor beside it (SCM_RIGHTS), which asyncio's streams cannot."""
    descriptor = os.dup(writer.get_extra_info("socket").fileno())
    with socket.socket(fileno=descriptor) as connection:
        socket.send_fds(connection, [line], [listener.fileno()])
