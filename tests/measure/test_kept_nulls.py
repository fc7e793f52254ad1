"""A null that was kept is the one that would be drawn again, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.measure import kept_nulls
from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column, profile_like, reference_profile


class Folder(dict[str, bytes]):
    """Kept in memory, and which names were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def read(self, name: str) -> bytes | None:
        self.asked.append(name)
        return self.get(name)

    def write(self, name: str, content: bytes) -> None:
        self[name] = content


def frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=n), "plan": rng.choice(["a", "b"], size=n)})


ROWS = frame(600, 0)
PROFILE = reference_profile(ROWS, [Column("x", "numeric"), Column("plan", "categorical")])


def opened(keep: Folder | None, rows: pd.DataFrame = ROWS) -> Reference:
    found = Reference.of(rows, PROFILE, None, ["plan"])
    if keep is not None:
        found.keep_nulls(keep)
    return found


def test_a_kept_null_gives_the_verdict_that_a_drawn_one_gives() -> None:
    window = profile_like(frame(300, 1), PROFILE)
    plain = drift_verdict(opened(None), window, false_alarms_per_year=1)
    keep = Folder()
    first = drift_verdict(opened(keep), window, false_alarms_per_year=1)
    assert len(keep) == len(keep.asked) == 1
    drawn = dict(keep)
    again = drift_verdict(opened(keep), window, false_alarms_per_year=1)
    assert plain == first == again
    assert keep == drawn


def test_windows_of_about_one_size_share_a_null_and_others_do_not() -> None:
    keep = Folder()
    for rows in (300, 301, 200):
        opened(keep).null(rows, 4000, {})
    assert len(keep) == 2
    opened(keep).null(300, 4000, {"x": "up"})
    opened(keep).null(300, 5000, {})
    opened(keep).null(300, 4000, {}, against=300)
    assert len(keep) == 5


def test_other_rows_and_another_way_of_drawing_have_nulls_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = Folder()
    opened(keep).null(300, 4000, {})
    opened(keep, frame(600, 7)).null(300, 4000, {})
    alone = replace(opened(None), joint=False)
    alone.keep_nulls(keep)
    monkeypatch.setattr(kept_nulls, "_how", lambda: b"another")
    opened(keep).null(300, 4000, {})
    assert len(keep) == 3
    alone.null(300, 4000, {})
    assert len(keep) == 4


def test_segments_keep_theirs_too() -> None:
    keep = Folder()
    reference = opened(keep)
    reference.segments["plan"]["a"].null(300, 4000, {})
    assert len(keep) == 1


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[:500], lambda b: b"PK" + b[2:40]])
def test_a_null_that_was_not_kept_whole_is_drawn_again(spoil: object) -> None:
    keep = Folder()
    expected = opened(keep).null(300, 4000, {})
    (name,) = keep
    whole = keep[name]
    keep[name] = spoil(whole)  # type: ignore[operator]
    found = opened(keep).null(300, 4000, {})
    assert keep[name] == whole
    np.testing.assert_array_equal(found.largest, expected.largest)


def test_few_nulls_are_held_at_a_time() -> None:
    keep = Folder()
    reference = opened(keep)
    sizes = [50, 60, 70, 80, 100, 120, 140, 160, 180]
    for rows in sizes:
        reference.null(rows, 200, {})
    reference.null(sizes[-1], 200, {})
    assert len(keep.asked) == len(sizes)
    reference.null(sizes[0], 200, {})
    assert len(keep.asked) == len(sizes) + 1
