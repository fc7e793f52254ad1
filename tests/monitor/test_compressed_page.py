"""Pages whose scripts are unpacked by a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_pipelines.monitor.compressed_page import LONG, compressed


def test_scripts_run_in_their_order(tmp_path: Path, browser: Any) -> None:
    padding = "/*" + "x" * LONG + "</p> ü*/"
    page = (
        "<!DOCTYPE html><html><body><p id='told'></p>"
        f"<script>var said = ['ü'];{padding}</script>"
        "<script>said.push('two');</script>"
        f"<script>said.push('three');{padding}"
        "document.getElementById('told').textContent = said.join(' ');</script>"
        "</body></html>"
    )
    small = compressed(page)
    (tmp_path / "page.html").write_text(f"<meta charset=utf-8>{small}", encoding="utf-8")

    assert len(small) < len(page) / 10
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_function("document.getElementById('told').textContent != ''")
    assert tab.inner_text("#told") == "ü two three"


def test_a_page_without_long_scripts_stays_as_it_is() -> None:
    page = "<html><body><script>var a = 1;</script></body></html>"

    assert compressed(page) == page
