"""Nonsense below the body: content types, encodings, lengths, chunks, paths, methods, headers."""

from __future__ import annotations

import json

from benchmarks.serving.nonsense.source import Source
from benchmarks.serving.wire import request

MEDIA = (
    "", "text/plain", "application/xml", "application/octet-stream", "application/json; ;;",
    "multipart/form-data", "application/x-www-form-urlencoded", "APPLICATION/PICKLE",
    "application/json; charset=utf-16", "text/csv; charset=\xff", "*/*", "/", "json",
)  # fmt: skip

PATHS = (
    "/", "//", "/invocations/", "/invocations/../x", "/%00", "/%zz", "/v2", "/v2/models",
    "/v2/models/none/infer", "/v2/models/{model}/versions/0/infer", "/v2/models/%ff/infer",
    "/v2/models/{model}/versions/x/ready", "/v2/models/{model}/infer?a=b&a=b", "/metrics/x",
    "/v2/models/" + "m" * 3000 + "/infer", "/health", "/feedback/x", "/invocations;a=b",
)  # fmt: skip

METHODS = ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "BREW")

NOT_UTF8 = (b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80")


def media(s: Source) -> bytes:
    return s.post(json.dumps(s.good()), media=s.pick(MEDIA))


def not_utf8(s: Source) -> bytes:
    body = json.dumps(s.good()).encode()
    at = s.random.randrange(len(body))
    nonsense = s.pick(NOT_UTF8)
    media = s.pick(("application/json", "text/csv"))
    return s.post(
        s.pick(
            (
                body[:at] + nonsense + body[at:],
                body.replace(s.columns[0].encode(), s.columns[0].encode() + nonsense),
                json.dumps(s.good()).encode("utf-16"),
                b"\xef\xbb\xbf" + body[:at],
            )
        ),
        media=media,
    )


def length(s: Source) -> bytes:
    body = json.dumps(s.good()).encode()
    told = s.pick((
        str(len(body) + s.random.randrange(1, 1000)), str(s.random.randrange(len(body))),
        "-1", "x", "", "1e3", "99999999999999999999", f"{len(body)}, 7", "+5", "0", "10 10",
    ))  # fmt: skip
    return (
        f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {told}\r\n\r\n"
    ).encode() + body


def chunks(s: Source) -> bytes:
    body = json.dumps(s.good()).encode()
    size = s.pick((f"{len(body):x}", "zz", "-1", "", "ffffffffffffffffff", "1"))
    end = s.pick((b"\r\n0\r\n\r\n", b"\r\n", b"", b"\r\nzz\r\n\r\n"))
    encoding = s.pick(("chunked", "chunked, chunked", "gzip", "identity", "x"))
    return (
        (
            f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"transfer-encoding: {encoding}\r\n\r\n{size}\r\n"
        ).encode()
        + body
        + end
    )


def route(s: Source) -> bytes:
    path = s.pick(PATHS).replace("{model}", s.model)
    paths = (path, "/invocations", "/feedback", "/metrics", f"/v2/models/{s.model}/infer")
    body = json.dumps(s.good()).encode()
    return request(s.pick(paths), body, method=s.pick(METHODS))


def headers(s: Source) -> bytes:
    long = "x" * s.pick((10, 9000, 70_000))
    more = s.pick((
        "traceparent: 00-zz-zz-zz\r\n", f"traceparent: {long}\r\n", f"x-request-id: {long}\r\n",
        "x-request-id: \xff\xfe\r\n", "x-event-time: yesterday\r\n", "x-event-time: 1e999\r\n",
        "authorization: Bearer\r\n", "authorization: \xff\r\n", "expect: 200-maybe\r\n",
        "content-encoding: gzip\r\n", "upgrade: h2c\r\nconnection: upgrade\r\n", ": empty\r\n",
        "no colon\r\n", f"{long}: 1\r\n", "".join(f"x-{i}: 1\r\n" for i in range(300)),
        "host: twice\r\n", "connection: \xff\r\n", "te\x00st: 1\r\n",
    ))  # fmt: skip
    body = s.with_cell('"x"')
    return s.post(body, more=more)


def noise(s: Source) -> bytes:
    length = s.random.randrange(1, 400)
    noise = s.random.randbytes(length)
    way = s.random.randrange(4)
    if way == 0:
        return noise
    if way == 1:
        return b"POST /invocations HTTP/9.9\r\n\r\n"
    if way == 2:
        return b"POST " + noise + b" HTTP/1.1\r\nhost: x\r\n\r\n"
    return s.post(noise)


def large_body(_: Source) -> bytes:
    # Told, not sent: a server must refuse what it would have to hold.
    head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {10**9}\r\n\r\n".encode() + b'{"inputs": [[' + b"1," * 2000
