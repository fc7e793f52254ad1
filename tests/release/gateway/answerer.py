"""`python answerer.py PORT VERSION FOLDER`: a small HTTP server that can be told to misbehave.

A file in FOLDER tells it how: `fail` answers 500, `busy` 503, `hang` does not answer, `sick` fails
the health page alone. What it is asked by is kept in `asked`, one request id a line.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, VERSION, FOLDER = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])


class Answerer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path == "/health/ready":
            self._answer(503 if (FOLDER / "sick").exists() else 200, b'{"model":"m"}')
        else:
            self._answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        time.sleep(0.002)
        while (FOLDER / "hang").exists():
            time.sleep(0.05)
        with (FOLDER / "asked").open("a") as asked:
            asked.write(f"{self.headers.get('x-request-id')}\n")
        failing = (FOLDER / "fail").exists()
        self._answer(500 if failing else 503 if (FOLDER / "busy").exists() else 200)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        body = body or self.path.encode()
        self.send_header("content-length", str(len(body)))
        self.send_header("x-model-version", VERSION)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


Server(("127.0.0.1", PORT), Answerer).serve_forever()
