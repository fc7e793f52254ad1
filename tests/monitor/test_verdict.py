"""Drift of a day is told by column, as a sentence, a table, a picture and a page."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.measure.profile import Column, Profile, reference_profile
from mlops_pipelines.monitor.report import evidently_html
from mlops_pipelines.monitor.verdict import Drift, compare

ODD = "a|b <script>alert(1)</script>"


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    score = rng.beta(2, 5, n)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, n),
            "visits": rng.integers(0, 9, n),
            "member": rng.random(n) < 0.5,
            "plan": rng.choice(["basic", "plus", "<b>free</script>"], n, p=[0.6, 0.3, 0.1]),
            ODD: rng.normal(size=n),
            "constant": np.zeros(n),
            "empty": np.full(n, np.nan),
            "name": [f"customer {seed} {i}" for i in range(n)],
            "prediction": (score > 0.5).astype(int),
            "score": score,
        }
    )


def profile(frame: pd.DataFrame) -> Profile:
    numeric = ["age", "visits", ODD, "constant", "empty", "score"]
    columns = [
        Column(name, "numeric" if name in numeric else "categorical") for name in frame.columns
    ]
    return reference_profile(frame.drop(columns="name"), [c for c in columns if c.name != "name"])


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return rows(2000, 0)


@pytest.fixture(scope="module")
def faulty() -> pd.DataFrame:
    found = rows(400, 2)
    return found.assign(age=found["age"] * 10, score=1 - found["score"])


@pytest.fixture(scope="module")
def drifted(make_spec: Any, reference: pd.DataFrame, faulty: pd.DataFrame) -> Drift:
    return compare(make_spec(), profile(reference), faulty)


def test_a_day_like_the_reference_is_ok(make_spec: Any, reference: pd.DataFrame) -> None:
    found = compare(make_spec(), profile(reference), rows(400, 1))
    assert (found.status, found.drifted) == ("ok", ())
    assert found.metrics()["drift_columns"] == 0
    assert found.metrics()["drift_rows"] == 400


def test_nights_without_drift_rarely_alarm(make_spec: Any, reference: pd.DataFrame) -> None:
    """At 36.5 false alarms a year one night in ten may alarm: over 150 nights, 25 are too many.

    That is a binomial test at 1 in 200; the seed is fixed.
    """
    spec = make_spec(monitor={"false_alarms_per_year": 36.5})
    before = profile(reference)
    nights = [compare(spec, before, rows(200, seed)).status for seed in range(100, 250)]
    assert nights.count("alarm") <= 24
    assert set(nights) <= {"ok", "alarm"}


def test_a_shift_by_one_standard_deviation_is_seen(make_spec: Any, reference: pd.DataFrame) -> None:
    """200 rows a night, ten nights, each of which would miss it with a chance under 1 in 1,000."""
    for seed in range(10):
        night = rows(200, 1000 + seed)
        found = compare(make_spec(), profile(reference), night.assign(age=night["age"] + 10))
        assert found.drifted == ("age",)


def test_too_few_rows_is_said(make_spec: Any, reference: pd.DataFrame) -> None:
    found = compare(make_spec(), profile(reference), rows(9, 1))
    assert found.status == "insufficient_data"
    assert found.sentence.startswith("9 rows")
    assert found.metrics()["drift_distance_max"] == 0.0
    ET.fromstring(found.svg())


def test_the_columns_that_drifted_are_named(drifted: Drift) -> None:
    assert drifted.status == "alarm"
    assert set(drifted.drifted) == {"age", "score"}
    assert drifted.sentence.startswith("2 of 9 columns drifted: ")
    told = drifted.sentence
    assert re.search(r"age: mean moved from 40\.\d+ to 39\d\.\d \(about 9\.8\d× larger\)", told)
    assert drifted.metrics()["drift_columns"] == 2
    assert drifted.metrics()["drift_distance_max"] == drifted.columns[0].distance


def test_a_column_that_went_away_drifts(make_spec: Any, reference: pd.DataFrame) -> None:
    found = compare(make_spec(), profile(reference), rows(400, 3).drop(columns="plan"))
    assert found.drifted == ("plan",)
    assert "missing" in found.sentence


def test_the_table_has_a_line_per_column(drifted: Drift) -> None:
    table, _, below = drifted.markdown().partition("\n\n")
    lines = table.splitlines()
    assert len(lines) == 2 + 9
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {8}
    assert "1 in 365 windows wanted; rows are taken as drawn independently" in below
    assert lines[2].startswith(f"| **{drifted.drifted[0]}** |")


def test_the_picture_is_small_and_well_formed(drifted: Drift) -> None:
    picture = drifted.picture()
    assert len(picture) < 40_000
    encoded = picture.partition("base64,")[2].removesuffix(")")
    root = ET.fromstring(base64.b64decode(encoded))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"age", "score", "distance, limit 0.1"} <= set(texts)


def test_a_wide_frame_still_makes_a_small_picture(make_spec: Any) -> None:
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(300, 120))).add_prefix("measurement of a long name ")
    columns = [Column(name, "numeric") for name in wide.columns]
    found = compare(make_spec(), reference_profile(wide, columns), wide + 3)
    assert len(found.drifted) == 120
    assert len(found.picture()) < 40_000
    assert found.sentence.endswith("; and 116 more")


def unpacked(page: str) -> str:
    """The page as a browser has it once its scripts are unpacked."""
    return re.sub(
        r'<script type="application/zlib" data-part>(.*?)</script>',
        lambda found: zlib.decompress(base64.b64decode(found[1])).decode(),
        page,
    )


def test_the_page_shows_our_verdict_above_evidentlys(
    make_spec: Any, reference: pd.DataFrame, faulty: pd.DataFrame, drifted: Drift
) -> None:
    logged = faulty.assign(prediction_id="p", latency_ms=1.0, model_version=3)
    page = unpacked(
        evidently_html(reference.assign(target=1), logged, drifted, make_spec(), "2026-03-01")
    )
    before, _, rest = page.partition('<section class="mlops-verdict">')
    head, _, after = rest.partition("</section>")
    evidently = before + after
    assert "churn, 2026-03-01: alarm" in head
    assert "2,000 of 2,000 reference rows and 400 of 400 logged rows" in head
    assert "Not drawn: empty, name." in head
    for name in ("age", "visits", "member", "plan", "constant", "score"):
        assert f'"{name}"' in evidently
    assert "latency_ms" not in evidently
    assert "customer 2" not in page
    assert "alert(1)" in evidently
    assert "<script>alert" not in page
    assert "<b>free" not in page
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.https?:", page) == []


def test_at_most_5000_rows_are_drawn(make_spec: Any, drifted: Drift) -> None:
    many = pd.DataFrame({"age": np.arange(6000.0)})
    page = evidently_html(many, many.iloc[:50], drifted, make_spec(), "2026-03-01")
    assert "5,000 of 6,000 reference rows and 50 of 400 logged rows" in page


def test_a_page_with_nothing_to_draw_has_the_verdict(make_spec: Any, drifted: Drift) -> None:
    none = pd.DataFrame({"age": [1.0, 2.0]})
    page = evidently_html(none, none.iloc[:0], drifted, make_spec(), "2026-03-01")
    assert "Not drawn: age." in page
    assert page.startswith("<!DOCTYPE html>")
