"""The picture of all days."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from xml.etree import ElementTree as ET

import numpy as np

from mlops_pipelines.monitor.heat_map import HeatMap

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")


def pixels(svg: str) -> list[list[int]]:
    """The palette's numbers of the embedded picture, a row per column."""
    png = base64.b64decode(re.search(r"base64,([^\"]+)", svg)[1])
    width, height = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    raw = zlib.decompress(png[start + 4 : start + 4 + length])
    rows = [raw[place * (width + 1) : (place + 1) * (width + 1)] for place in range(height)]
    return [list(row[1:]) for row in rows]


def test_a_shade_for_each_day_and_column() -> None:
    distances = np.array([[0.0, 0.05], [np.nan, 0.1], [0.5, 0.2]])
    found = HeatMap(DAYS, ("age", "town"), distances, 0.1).svg()

    assert pixels(found) == [[1, 0, 7], [3, 5, 6]]


def test_alarms_are_marked_and_names_are_escaped() -> None:
    distances = np.zeros((3, 1))
    svg = HeatMap(DAYS, ("<b>",), distances, 0.1, frozenset({DAYS[1]})).svg()
    found = ET.fromstring(svg)
    texts = [each.text for each in found.iter() if each.text]

    assert "<b>" in texts
    assert [text for text in texts if "alarm" in text] == ["2026-01-02: alarm"]


def test_two_years_are_a_small_picture() -> None:
    days = tuple(f"day {number}" for number in range(730))
    distances = np.random.default_rng(0).uniform(0, 0.5, size=(730, 25))

    assert len(HeatMap(days, tuple("abcdefghijklmnopqrstuvwxy"), distances, 0.1).svg()) < 40_000


def test_without_days_there_is_no_picture() -> None:
    assert HeatMap((), ("age",), np.zeros((0, 1)), 0.1).svg() == ""
