"""Slices cover every row once per segment; the worst rows come first."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_pipelines.measure.slices import Slice, by_slice, worst_rows


def test_each_value_of_each_segment_is_a_slice() -> None:
    segments = pd.DataFrame(
        {"site": ["b"] * 25 + ["a"] * 30 + [None] * 5, "ward": [1] * 60}, index=range(100, 160)
    )
    assert by_slice(segments, lambda rows: (int(rows.min()), int(rows.max()))) == (
        Slice("site", "a", 30, (25, 54)),
        Slice("site", "b", 25, (0, 24)),
        Slice("site", "missing", 5, None),
        Slice("ward", "1", 60, (0, 59)),
    )
    assert by_slice(pd.DataFrame(index=range(5)), len) == ()


def test_the_worst_rows_come_first_and_equals_in_order() -> None:
    loss = np.array([0.1, 3.0, 0.5, 3.0])
    assert worst_rows(loss, 3).tolist() == [1, 3, 2]
    assert worst_rows(loss, 9).tolist() == [1, 3, 2, 0]
