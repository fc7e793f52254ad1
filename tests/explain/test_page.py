"""The record as a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines.explain.lineage import lineage
from mlops_pipelines.explain.markup import MANY, wide
from mlops_pipelines.explain.night_picture import picture
from mlops_pipelines.explain.page import _against, record_page
from mlops_pipelines.explain.publish import publish
from mlops_pipelines.explain.record_schema import Difference, Night, Record

VOID = ("meta", "wbr", "circle", "line")


class Reader(HTMLParser):
    """Tags, attributes and texts; `open` has the elements that were not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module", params=[1, 2])
def record(request: pytest.FixtureRequest, shop: Any) -> Record:
    return lineage(shop.sources, "shop", request.param, "roc_auc")


def test_it_asks_for_nothing_else(record: Record) -> None:
    page = record_page(record)
    assert read(page).links == []
    assert re.findall(r"https?://[^\"' <]+", page) == (
        ["http://www.w3.org/2000/svg"] if record.version == 1 else []
    )
    assert "@import" not in page
    assert "url(" not in page


def test_the_record_is_in_it(record: Record) -> None:
    page = record_page(record)
    script = page.partition('<script type="application/json" id="record">')[2]
    said = json.loads(script.partition("</script>")[0])
    assert Record.model_validate(said) == record


def test_texts_of_others_are_texts(shop: Any) -> None:
    record = lineage(shop.sources, "shop", 2, "roc_auc")
    bad = record.model_copy(
        update={
            "quarantine": record.quarantine.model_copy(update={"reason": "</script><b>x"}),
            "params": {"<img src=x>": "&"},
        }
    )
    reader = read(record_page(bad))
    assert "b" not in reader.open
    assert "site = west <b>" in reader.texts
    assert any("</script><b>x" in text for text in reader.texts)
    assert any("<img src=x>=&" in text for text in reader.texts)


def test_every_section_has_its_say(shop: Any) -> None:
    texts = read(record_page(lineage(shop.sources, "shop", 1, "roc_auc"))).texts
    for heading in ("Traffic", "Metrics", "Gates", "Since then", "Data", "Made of"):
        assert heading in texts
    assert "Not on record" in texts
    assert "rolled back to this one from version 2 by carol: complaints" in texts
    assert "alarms: 1 performance" in texts


def nights(*values: float | None) -> list[Night]:
    return [
        Night(
            day=f"2026-03-{day:02}",
            run="r",
            verdicts={},
            metrics={} if value is None else {"rmse": value},
        )
        for day, value in enumerate(values, 1)
    ]


def test_the_picture_has_a_point_for_each_night_with_labels() -> None:
    drawn = picture(nights(1.0, None, 2.0, 3.0), "rmse", 1.5)
    assert drawn.count("<circle") == 3
    assert "on the holdout" in drawn
    assert picture(nights(1.0, None), "rmse", 1.0) == ""
    same = picture(nights(1.0, 1.0), "rmse", None)
    assert same.count("<circle") == 2
    assert "nan" not in same


def test_it_is_published_where_people_look(shop: Any) -> None:
    done = publish(shop.sources, shop.registry, "shop", 1, "roc_auc")
    assert done.uri == str(shop.home / "store/reports/shop/versions/1/record.html")
    page = Path(done.uri).read_text("utf-8")
    assert page == shop.registry.fetch("shop", 1, "record.html").read_text("utf-8")
    kept = json.loads(shop.registry.fetch("shop", 1, "record.json").read_text("utf-8"))
    assert Record.model_validate(kept) == done.record
    tags = shop.registry.version("shop", 1).tags
    assert tags["mlops.record_page"] == done.uri
    assert re.fullmatch(r"experiments/\d+/runs/[0-9a-f]{32}/artifacts/record\.html", done.artifact)


def test_versions_that_answer_alike_are_not_told_to_be_better() -> None:
    same = Difference(metric="r2", champion=1, improvement=0, low=0, high=0, rows=1234)
    assert _against(same) == "r2 is the champion's, in every resample of 1,234 rows"
    close = same.model_copy(update={"low": -0.5, "high": 0.25})
    assert _against(close) == (
        "r2 is 0 better than the champion's (95 % interval of the improvement -0.5 to +0.25, "
        "1,234 rows)"
    )


def test_a_table_of_many_columns_is_set_so_that_it_fits_on_paper() -> None:
    few, many = (wide([f"mean_error_{i}" for i in range(n)], []) for n in (MANY, MANY + 1))
    assert few.startswith('<div class="wide"><table>')
    assert many.startswith('<div class="wide many"><table>')
    assert "mean_<wbr>error_<wbr>0" in few
    assert ">roc_auc<" in wide(["roc_auc"], [])
