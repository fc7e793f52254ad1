"""The page as a browser shows it: whole without JavaScript, nothing fetched, nothing cut off."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines.serve.examples import Examples
from mlops_pipelines.serve.openapi import openapi
from mlops_pipelines.serve.page import ADDRESS, CONTENT_SECURITY_POLICY, page
from mlops_pipelines.serve.predictor import Predictor
from mlops_pipelines.serve.protocol import TableParser
from mlops_pipelines.serve.signature import Limits

LIMITS = Limits()


@pytest.fixture(scope="module")
def document(bundles: Any) -> dict[str, Any]:
    predictor = Predictor.load(bundles.mixed)
    return openapi(predictor.meta, Examples(predictor), LIMITS, True)


def commands(html: str) -> list[list[str]]:
    """The commands on the page, as a shell would read them."""
    found = re.findall(r'<div class="box"><pre>(.*?)</pre>', html, re.DOTALL)
    return [shlex.split(unescape(re.sub("<[^>]*>", "", text))) for text in found]


def test_every_path_is_there_with_a_command_that_can_be_pasted(
    bundles: Any, document: dict[str, Any]
) -> None:
    html = page(document)
    for path in document["paths"]:
        assert f"<code>{path}</code>" in html
    parser = TableParser(Predictor.load(bundles.mixed).meta.columns, LIMITS)
    tables = [words for words in commands(html) if words[1] == f"{ADDRESS}/invocations"]
    assert len(tables) == 6
    for words in tables:
        media = next(word for word in words if word.startswith("Content-Type: "))
        assert "Authorization: Bearer $TOKEN" in words
        rows = parser.parse(words[-1].encode(), media.removeprefix("Content-Type: "))
        assert rows.values == [["text", 0, 0.0, False]]
    assert [f"{ADDRESS}/v2/models/mixed/ready"] in [words[1:] for words in commands(html)]


def test_the_answer_errors_and_limits_are_told(document: dict[str, Any]) -> None:
    text = unescape(re.sub("<[^>]*>", "", page(document)))
    responses = document["paths"]["/invocations"]["post"]["responses"]
    answer = responses["200"]["content"]["application/json"]["examples"]["answer"]["value"]
    for key, value in answer.items():
        assert f'"{key}": {json.dumps(value)}' in text
    assert "rows of one request10,000" in text
    assert "bytes of one request16,777,216" in text
    for status in ("400", "401", "404", "405", "408", "413", "415", "500", "503"):
        assert re.search(rf"{status}[A-Z]", text)


def test_names_and_levels_are_shown_as_text(document: dict[str, Any]) -> None:
    evil = "</pre><script>alert(1)</script>'\"&"
    column = {"name": evil, "type": "string", "nullable": False, "levels": [evil] * 20}
    model = document["x-model"] | {"columns": [column], "target": evil, "classes": [evil, 1]}
    html = page(document | {"x-model": model})
    assert "<script>alert" not in html
    assert html.count("<script>") == 1
    assert "and 8 more" in html


class Site(http.server.BaseHTTPRequestHandler):
    """Answers every path with the page, under its policy, and remembers what was asked."""

    html = b""
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-security-policy", CONTENT_SECURITY_POLICY)
        self.end_headers()
        self.wfile.write(self.html)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(document: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (Site,), {"html": page(document).encode(), "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
        server.shutdown()


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_whole(
    site: tuple[str, list[str]], browser: Any, tmp_path: Path, width: int, script: bool
) -> None:
    address, asked = site
    asked.clear()
    context = browser.new_context(
        viewport={"width": width, "height": 900}, java_script_enabled=script
    )
    said: list[str] = []
    shown = context.new_page()
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.goto(f"{address}/docs")
    # Style and script are allowed by the policy, and nothing else was wanted.
    assert said == []
    assert [path for path in asked if path != "/favicon.ico"] == ["/docs"]
    code = shown.locator("pre").first
    assert code.inner_text().startswith(f"curl {address if script else ADDRESS}/invocations")
    assert shown.locator(".plain").count() == (0 if script else 1)
    main = shown.locator("body").bounding_box()
    assert main["width"] <= width
    for each in shown.locator("pre:visible, table:visible, h1, h2, h3").all():
        box = each.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    context.close()
