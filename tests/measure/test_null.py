"""What chance does is drawn from the reference's rows, or from its days where there are some."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.evidence import Verdict
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column, Profile, profile_like, reference_profile

COLUMNS = [Column("a", "numeric"), Column("b", "numeric"), Column("plan", "categorical")]
DAYS, PER_DAY = 60, 100


def population(rows: int, seed: int) -> pd.DataFrame:
    """Two columns that move together (correlation 0.97), and levels."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "a": a,
            "b": a + 0.25 * rng.normal(size=rows),
            "plan": rng.choice(["basic", "plus", "pro"], rows, p=[0.6, 0.3, 0.1]),
        }
    )


def days(count: int, seed: int, sway: float = 0.5) -> pd.DataFrame:
    """Days of 100 rows of which each has a mean of its own, with deviation `sway`."""
    rng = np.random.default_rng(seed)
    rows = population(count * PER_DAY, seed)
    means = rng.normal(0, sway, count).repeat(PER_DAY)
    at = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(
        np.arange(len(rows)) // PER_DAY, "D"
    )
    return rows.assign(a=rows["a"] + means, b=rows["b"] + means, at=at)


def of(rows: pd.DataFrame, **options: object) -> Reference:
    return Reference.of(rows, reference_profile(rows, COLUMNS), **options)  # type: ignore[arg-type]


def verdict(reference: Reference | Profile, rows: pd.DataFrame, **options: object) -> Verdict:
    profile = reference.profile if isinstance(reference, Reference) else reference
    asked = {"false_alarms_per_year": 1, "visible": 0.5, **options}
    return drift_verdict(reference, profile_like(rows, profile), **asked)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def still() -> Reference:
    return of(population(4000, 0))


@pytest.fixture(scope="module")
def swaying() -> Reference:
    rows = days(DAYS, 1)
    return of(rows, times=rows["at"])


def test_a_reference_is_read_back_as_it_was(swaying: Reference) -> None:
    rows = days(8, 2)
    parts = of(rows, times=rows["at"], segments=["plan", "gone"])
    for each in (swaying, parts, Reference.alone(parts.profile)):
        again = Reference.from_bytes(each.to_bytes())
        assert again.to_bytes() == each.to_bytes()
        assert (again.profile, again.blocks, again.unit, again.joint) == (
            each.profile,
            each.blocks,
            each.unit,
            each.joint,
        )
        np.testing.assert_array_equal(again.codes, each.codes)
    assert sorted(parts.segments["plan"]) == ["basic", "plus", "pro"]
    assert len(swaying.to_bytes()) < 40_000


@pytest.mark.parametrize("content", [b"", b"no npz", b"PK\x03\x04"])
def test_what_is_no_reference_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="^reference: not readable as an npz file of schema 1"):
        Reference.from_bytes(content)


def test_codes_count_to_the_profile(still: Reference) -> None:
    for place, column in enumerate(still.profile.columns):
        counted = np.bincount(still.codes[:, place], minlength=len(column.counts))
        assert tuple(counted.tolist()) == column.counts


def test_columns_that_move_together_cost_nothing() -> None:
    """Twelve copies of one column have the limit of about one column, not of twelve."""
    rows = population(3000, 3)
    copies = pd.DataFrame({f"c{i}": rows["a"] for i in range(12)})
    others = pd.DataFrame(np.random.default_rng(4).normal(size=(3000, 12))).add_prefix("c")
    limits = []
    for frame in (copies[["c0"]], copies, others):
        columns = [Column(name, "numeric") for name in frame]
        reference = Reference.of(frame, reference_profile(frame, columns))
        limits.append(reference.null(300, 4000, {}).limit(0.01))
    one, same, different = limits
    assert same == pytest.approx(one, abs=0.25)
    assert different > one + 0.6


def test_a_column_that_moves_alone_is_found_beside_those_it_moves_with(still: Reference) -> None:
    # A third of a standard deviation in 200 rows: 3.5 standard errors, but 12 beside the other.
    found = 0
    for seed in range(10):
        rows = population(200, 100 + seed)
        both = verdict(still, rows.assign(b=rows["b"] + 0.3), floor=0.01)
        named = [each.column for each in both.columns if each.significant]
        assert set(named) <= {"b"}
        found += named == ["b"]
        assert not verdict(Reference.alone(still.profile), rows, floor=0.01).columns[0].drifted
    assert found >= 9


def test_windows_differ_as_the_days_of_the_reference_do(swaying: Reference) -> None:
    """Rows drawn anew would call most of these days drifted; at most 3 of 60 may be."""
    assert (swaying.unit, len(swaying.blocks)) == ("day", DAYS)
    calm = of(days(DAYS, 1))
    alarms, naive = 0, 0
    for seed in range(60):
        day = days(1, 1000 + seed)
        alarms += verdict(swaying, day).status == "alarm"
        naive += verdict(calm, day).status == "alarm"
    assert naive >= 20
    assert alarms <= 3


def test_what_the_days_do_not_carry_is_not_claimed(swaying: Reference) -> None:
    found = verdict(swaying, days(1, 7))
    assert (found.unit, found.blocks) == ("day", DAYS)
    assert found.alpha == pytest.approx(1 / 365)
    assert found.attainable == pytest.approx(1 / (1 + DAYS))
    assert found.measured is not None
    assert found.measured <= 0.1
    assert found.p_value >= found.attainable

    more = [profile_like(days(1, 2000 + seed), swaying.profile) for seed in range(40)]
    wider = verdict(swaying, days(1, 7), accepted=more)
    assert wider.blocks == DAYS + 40
    assert wider.attainable == pytest.approx(1 / (1 + DAYS + 40))


def test_a_fault_is_found_among_days_that_differ(swaying: Reference) -> None:
    day = days(1, 8)
    gone = day.assign(b=day["b"].where(np.arange(PER_DAY) % 4 != 0))
    found = verdict(swaying, gone)
    assert [each.column for each in found.columns if each.drifted] == ["b"]
    assert found.columns[1].moved[0] == "missing: 0.0% → 25.0%"


def test_a_slow_drift_is_found_over_weeks(still: Reference) -> None:
    """A shift by 0.35 standard deviations in 30 rows a day shows on few days, but over a month."""
    rng = np.random.default_rng(9)
    recent: list[Profile] = []
    alone, together = 0, 0
    for seed in range(28):
        rows = population(30, 3000 + seed)
        rows = rows.assign(a=rows["a"] + 0.35, b=rows["b"] + 0.35 + 0 * rng.normal(size=30))
        alone += verdict(still, rows).status == "alarm"
        found = verdict(still, rows, recent=recent)
        recent.append(profile_like(rows, still.profile))
        together += found.status == "alarm"
    assert alone <= 3
    assert found.status == "alarm"
    assert [each.windows for each in found.sums] == [7, 28]
    assert set(found.sums[1].drifted) == {"a", "b"}
    assert found.sums[1].rows == 28 * 30


def test_quiet_weeks_stay_quiet(still: Reference) -> None:
    """70 nights with sums at 1 false alarm in 20 nights: 3.5 expected; 11 or more are in a chain of
    dependent nights less likely than 1 in 100."""
    recent: list[Profile] = []
    alarms = 0
    for seed in range(70):
        rows = population(200, 5000 + seed)
        options = {"false_alarms_per_year": 18.25, "floor": 0.001}
        alarms += verdict(still, rows, recent=recent, **options).status == "alarm"
        recent = [*recent, profile_like(rows, still.profile)][-27:]
    assert alarms <= 10


def test_only_the_direction_that_is_meant_counts(still: Reference) -> None:
    rows = population(400, 11)
    up, down = rows.assign(a=rows["a"] + 1), rows.assign(a=rows["a"] - 1)
    for moved, said in ((up, "up"), (down, "down")):
        assert verdict(still, moved, directions={"a": said}).columns[0].drifted
    for moved, said in ((up, "down"), (down, "up")):
        assert not verdict(still, moved, directions={"a": said}).columns[0].drifted


def test_a_column_may_have_a_floor_of_its_own(still: Reference) -> None:
    rows = population(400, 12)
    moved = rows.assign(a=rows["a"] + 1, b=rows["b"] + 1)
    found = verdict(still, moved, floors={"a": 0.9})
    assert [each.column for each in found.columns if each.drifted] == ["b"]
    assert found.columns[0].what == "changed, but by less than 0.9"


def test_segments_are_judged_on_their_own() -> None:
    rows = population(4000, 13)
    # What was answered is known of other rows than those that were learned.
    answered = pd.DataFrame({"score": np.random.default_rng(0).random(1000)})
    scores = reference_profile(answered, [Column("score", "numeric")])
    learned = reference_profile(rows, COLUMNS)
    profile = Profile(learned.n, (*learned.columns, *scores.columns))
    reference = Reference.of(rows, profile, segments=["plan"])

    def judged(window: pd.DataFrame) -> Verdict:
        window = window.assign(score=np.random.default_rng(1).random(len(window)))
        parts = {str(value): profile_like(some, profile) for value, some in window.groupby("plan")}
        return verdict(reference, window, segments={"plan": parts})

    window = population(2000, 14)
    assert judged(window).status == "ok"
    found = judged(window.assign(a=window["a"] + 2 * (window["plan"] == "pro")))
    assert found.status == "alarm"
    statuses = {value: part.status for value, part in found.segments["plan"].items()}
    assert statuses == {"basic": "ok", "plus": "ok", "pro": "alarm"}


def test_the_previous_window_is_compared_but_raises_no_alarm(still: Reference) -> None:
    rows = population(400, 15)
    before = profile_like(rows.assign(a=rows["a"] + 1, b=rows["b"] + 1), still.profile)
    found = verdict(still, population(400, 16), previous=before)
    assert found.status == "ok"
    assert [each.column for each in found.previous if each.significant] == ["a", "b"]
