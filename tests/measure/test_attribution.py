"""Drift into cells where answers are wrong is named, and other drift is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.measure.attribution import harmful_columns, loss_by_cell
from mlops_pipelines.measure.profile import (
    Column,
    Profile,
    add,
    profile_like,
    reference_profile,
)

COLUMNS = [Column("x", "numeric"), Column("kind", "categorical"), Column("idle", "numeric")]


def rows(n: int, seed: int, web: float = 0.3, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": random.normal(size=n),
            "kind": np.where(random.random(n) < web, "web", "shop"),
            "idle": random.normal(shift, 1, n),
        }
    )


@pytest.fixture(scope="module")
def reference() -> tuple[Profile, dict[str, tuple[float, ...]]]:
    frame = rows(5000, 0)
    profile = reference_profile(frame, COLUMNS)
    loss = np.where(frame["kind"] == "web", 0.3, 0.1)
    return profile, {each.name: loss_by_cell(frame, each, loss) for each in profile.columns}


def test_the_column_that_harms_comes_first(reference: tuple[Profile, dict]) -> None:
    profile, losses = reference
    window = profile_like(rows(2000, 1, web=0.8, shift=2.0), profile)
    found = harmful_columns(profile, window, losses)
    assert (found[0].column, found[0].cell) == ("kind", "'web'")
    # Half of the rows more are on the web, where 0.2 more is lost.
    assert found[0].added == pytest.approx(0.1, abs=0.01)
    assert found[0].share > 0.8
    idle = next(each for each in found if each.column == "idle")
    assert abs(idle.added) < 0.02
    better = harmful_columns(profile, profile_like(rows(2000, 1, web=0.0), profile), losses)
    assert (better[-1].column, better[-1].added < -0.05) == ("kind", True)


def test_merged_profiles_tell_the_same(reference: tuple[Profile, dict]) -> None:
    profile, losses = reference
    frame = rows(2000, 2, web=0.6)
    parts = [profile_like(frame[i::3], profile) for i in range(3)]
    whole = harmful_columns(profile, profile_like(frame, profile), losses)
    assert harmful_columns(profile, add(add(parts[0], parts[1]), parts[2]), losses) == whole


def test_the_reference_itself_adds_nothing(reference: tuple[Profile, dict]) -> None:
    profile, losses = reference
    assert all(
        each.added == pytest.approx(0, abs=1e-12)
        for each in harmful_columns(profile, profile, losses)
    )
    assert harmful_columns(profile, profile, {}) == ()
    assert harmful_columns(profile, Profile(0, ()), losses) == ()
