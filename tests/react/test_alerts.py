"""Alerts reach the log and a real webhook; a broken address is one line that gives nothing away."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mlops_pipelines.react.alerts import Alerts


class Webhook(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.posted: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"json://user:hunter2@127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def webhooks() -> Iterator[Any]:
    started: list[Webhook] = []

    def start(status: int = 200) -> Webhook:
        server = Webhook(status)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_without_urls_the_log_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert Alerts().send("churn fell", "roc_auc 0.6", model="churn", tags={"version": "3"}) == 0
    (line,) = caplog.records
    assert (line.getMessage(), line.levelno) == ("alert: churn fell: roc_auc 0.6", logging.WARNING)
    assert line.__dict__["alert"] == {"model": "churn", "version": "3"}


def test_a_webhook_is_told(webhooks: Any) -> None:
    webhook = webhooks()
    sent = Alerts([webhook.url]).send("churn fell", "0.6", model="churn", tags={"version": "3"})
    assert sent == 1
    (posted,) = webhook.posted
    assert posted["title"] == "churn fell"
    assert posted["message"] == "0.6\n\nmodel: churn\nversion: 3"


def test_one_broken_url_does_not_keep_the_others_from_being_told(
    webhooks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refusing, taking = webhooks(500), webhooks()
    gone = webhooks()
    gone.server_close()
    urls = [refusing.url, gone.url, "no url at all", "nonsense://hunter2", taking.url]
    assert Alerts(urls).send("churn fell", "0.6", model="churn") == 1
    assert len(taking.posted) == 1
    assert [line.getMessage() for line in caplog.records] == [
        "alert: churn fell: 0.6",
        "alert not sent to alerts.urls[0] (json): it did not take the message",
        "alert not sent to alerts.urls[1] (json): it did not take the message",
        "alert not sent to alerts.urls[2] (no scheme): it is not an Apprise URL",
        "alert not sent to alerts.urls[3] (nonsense): it is not an Apprise URL",
    ]
    assert "hunter2" not in caplog.text
