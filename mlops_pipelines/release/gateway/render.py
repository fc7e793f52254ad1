"""The gateway's configuration, from its state.

https://docs.haproxy.org/2.6/configuration.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from mlops_pipelines.release.gateway.state import Entry, Route, State

UNKNOWN_MODEL = "unknown_model"
BACKEND = "model_"
AGAIN = "again.map"
"""By model, the server that answers what another has failed on: see `Route.second`."""
ERROR_LIMIT = 3
"""Answers of 500 and above, one after the other, after which a server is a failing one: two rows
that no version answers are no reason to leave a sound one."""
NEVER = 1_000_000
"""Health checks to pass before a server that failed takes traffic by itself: its health page may
be green while its answers are not, so only `tidy` brings it back."""

_SAID: Mapping[int, tuple[str, tuple[str, ...]]] = {
    400: ("the request is no HTTP that is understood", ()),
    408: ("the request was not complete in time", ()),
    413: ("the request is too long", ()),
    500: ("the gateway failed", ()),
    502: ("the model gave no answer that is understood; try again", ()),
    503: ("no replica of this model answers; try again", ("retry-after", "1")),
    504: ("the model did not answer in time", ()),
}

_HEAD = """\
# Written by the gateway's own module; what is changed here by hand is lost.
global
    # Who runs with another begins anew.
    description {digest}
    stats socket {socket} mode 600 level admin expose-fd listeners
    server-state-file {servers}
    hard-stop-after 60s
    # Half of them are the callers': each request under way has another connection within.
    maxconn 8192
    # A request is sent again, to another replica, only if it fits.
    tune.bufsize 65536

defaults
    mode http
    load-server-state-from-file global
    timeout connect 500ms
    timeout client 60s
    timeout http-request 60s
    timeout http-keep-alive 60s
    timeout queue 10s
    timeout server {patience}s
    timeout check 1s
    option redispatch 1
    option http-buffer-request
    # More than the errors that make a server a failing one: the last tries find another.
    retries 8
    retry-on conn-failure empty-response response-timeout
"""
# What is sent again counts as no error of the server that failed on it. So the proxy that sends it
# again stands before those that count.

_FRONTEND = """\
frontend models
    bind {address}
    maxconn 4096
    acl asks_health path /health
    http-request return status 200 content-type {json} string {healthy} if asks_health
    # What is sent twice after a failure has one id, so that its row counts once.
    acl named req.hdr(x-request-id) -m len 1:128
    acl named req.hdr(traceparent) -m found
    http-request set-header x-request-id %[uuid()] unless named
    use_backend tries if {{ path_beg /models/ }}
    default_backend {unknown}

backend tries
    load-server-state-from-file none
    # The first try goes to what serves; one that was answered with 500 has a second.
    use-server first if TRUE
    retries 1
    retry-on 500 conn-failure empty-response
    http-reuse always
    timeout server {longest}s
    server first abns@{folder}/first
    server again abns@{folder}/again

frontend first
    bind abns@{folder}/first
    use_backend {backend}%[path,field(3,/)]
    default_backend {unknown}

frontend again
    bind abns@{folder}/again
    use_backend {backend}%[path,field(3,/)]
    default_backend {unknown}

frontend metrics
    bind {stats}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404

backend {unknown}
    http-request return status 404 content-type {json} string {missing}
"""

_BACKEND = """\
backend {name}
    balance roundrobin
    http-request set-path %[path,regsub(^/models/[^/]+/?,/)]
    option httpchk
    http-check send meth GET uri /health/ready ver HTTP/1.1 hdr host gateway hdr connection close
    # An address may have gone to a replica of another model.
    http-check expect status 200
    http-check expect string {said}
    use-server %[str({model}),map({again})] if {{ fe_name again }}
"""


@dataclass(frozen=True)
class Listening:
    """Where HAProxy listens, as it sees it itself: `host:port`s, and a folder for its socket.

    A replica that has not answered after `patience` seconds hangs: another is asked.
    """

    models: str
    stats: str
    folder: str
    patience: int = 30


def render(state: State, listening: Listening) -> str:
    """The whole configuration."""
    again = f"{listening.folder}/{AGAIN}"
    backends = [_backend(state.routes[model], again) for model in sorted(state.routes)]
    return "\n".join([_common(listening, digest(listening)), *backends])


def digest(listening: Listening) -> str:
    """Of all that is the same whatever models there are: a running HAProxy cannot change it."""
    text = _common(listening, "") + _BACKEND
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def render_again(state: State) -> str:
    """What the map AGAIN holds when HAProxy starts."""
    named = {model: state.routes[model].second for model in sorted(state.routes)}
    return "".join(f"{model} {name}\n" for model, name in named.items() if name)


def backend_name(model: str) -> str:
    """HAProxy's name of a model."""
    return BACKEND + model


def server_arguments(entry: Entry) -> str:
    """Address and options of a server, as a configuration and `add server` take them."""
    server = entry.server
    found = f"{_address(server.address)}:{server.port} check inter 500ms fastinter 200ms fall 3"
    found += f" maxconn {server.most} weight {entry.weight}"
    if entry.backup:
        # The last that answers is not taken away for what a caller's own rows may have caused.
        return f"{found} rise 2 backup"
    return f"{found} rise {NEVER} observe layer7 error-limit {ERROR_LIMIT} on-error mark-down"


def _common(listening: Listening, description: str) -> str:
    head = _HEAD.format(
        digest=description,
        socket=f"{listening.folder}/admin.sock",
        servers=f"{listening.folder}/servers.state",
        patience=listening.patience,
    )
    frontend = _FRONTEND.format(
        address=listening.models,
        stats=listening.stats,
        folder=listening.folder,
        longest=10 * listening.patience,
        backend=BACKEND,
        unknown=UNKNOWN_MODEL,
        json="application/json",
        healthy=_quoted({"ready": True}),
        missing=_quoted({"error": "there is no such model; expected /models/<model>/…"}),
    )
    return head + "".join(_error_page(status) for status in _SAID) + "\n" + frontend


def _backend(route: Route, again: str) -> str:
    lines = [
        f"    server {entry.name} {server_arguments(entry)}{'' if entry.enabled else ' disabled'}\n"
        for entry in route.entries()
    ]
    return _BACKEND.format(
        name=backend_name(route.model),
        model=route.model,
        said=f'\'"model":"{route.model}"\'',
        again=again,
    ) + "".join(lines)


def _address(address: str) -> str:
    return f"[{address}]" if isinstance(ip_address(address), IPv6Address) else address


def _error_page(status: int) -> str:
    sentence, header = _SAID[status]
    page = f"http-error status {status} content-type application/json"
    page += f" string {_quoted({'error': sentence})}"
    return f"    {page}{f' hdr {header[0]} {header[1]}' if header else ''}\n"


def _quoted(content: Mapping[str, object]) -> str:
    """JSON as one word of the configuration."""
    return "'" + json.dumps(content) + "'"
