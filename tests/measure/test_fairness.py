"""A planted gap is found, a gap at the bound is found by chance about as often as is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
    false_positive_rate_difference,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.gate_spec import FAIRNESS
from mlops_pipelines.measure.fairness import GAPS, MIN_ROWS, Gap, gaps, gaps_table
from mlops_pipelines.measure.metrics import METRICS
from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.tasks import TASK_METRICS

BINARY = FAIRNESS["binary_classification"]
FAIRLEARN: dict[str, Any] = {
    "demographic_parity_difference": demographic_parity_difference,
    "equal_opportunity_difference": equal_opportunity_difference,
    "false_positive_rate_difference": false_positive_rate_difference,
    "equalized_odds_difference": equalized_odds_difference,
}


def binary(
    sizes: dict[str, int], found: dict[str, float], seed: int = 0, false_alarms: float = 0.1
) -> tuple[np.ndarray, Outputs, pd.DataFrame]:
    """Rows of groups, half of them positive, of which a group's share `found` is called so."""
    rng = np.random.default_rng(seed)
    group = np.repeat(list(sizes), list(sizes.values()))
    truth = rng.integers(2, size=len(group))
    chance = np.where(truth == 1, [found[each] for each in group], false_alarms)
    called = (rng.random(len(group)) < chance).astype(int)
    score = np.clip(called * 0.5 + rng.random(len(group)) * 0.5, 0, 1)
    return truth, Outputs(called, score), pd.DataFrame({"site": group})


def test_values_are_those_of_fairlearn() -> None:
    truth, outputs, segments = binary(
        {"a": 200, "b": 300, "c": 150}, {"a": 0.9, "b": 0.7, "c": 0.8}
    )
    found = {g.name: g for g in gaps(tuple(FAIRLEARN), truth, outputs, (0, 1), segments, seed=0)}
    assert {name: gap.value for name, gap in found.items()} == {
        name: pytest.approx(
            function(truth, outputs.prediction, sensitive_features=segments["site"])
        )
        for name, function in FAIRLEARN.items()
    }
    odds = found["equalized_odds_difference"]
    assert [(g.value, g.n, set(g.values)) for g in odds.groups] == [
        ("a", 200, {"true_positive_rate", "false_positive_rate"}),
        ("b", 300, {"true_positive_rate", "false_positive_rate"}),
        ("c", 150, {"true_positive_rate", "false_positive_rate"}),
    ]


@pytest.mark.parametrize("name", [f"{name}_difference" for name in METRICS])
def test_a_gap_of_a_metric_is_that_of_the_metric_by_group(name: str) -> None:
    metric = METRICS[name.removesuffix("_difference")]
    rng = np.random.default_rng(1)
    site = np.repeat(["a", "b"], [400, 200])
    if metric.tasks == ("regression",):
        truth, classes = rng.normal(size=600), ()
        outputs = Outputs(truth + rng.normal(size=600) * np.where(site == "a", 0.1, 0.4))
    else:
        sizes = {"a": 400, "b": 200}
        truth, outputs, _ = binary(sizes, {"a": 0.9, "b": 0.6})
        score = outputs.score
        assert score is not None
        outputs = Outputs(outputs.prediction, score, np.column_stack([1 - score, score]))
        classes = (0, 1)
    [gap] = gaps([name], truth, outputs, classes, pd.DataFrame({"site": site}), seed=0)
    of = [metric.compute(truth[site == s], outputs.take(site == s), classes) for s in "ab"]
    assert gap.value == pytest.approx(abs(of[0] - of[1]))
    assert gap.low is not None and gap.high is not None
    assert 0 <= gap.low <= gap.value <= gap.high


def test_every_declared_gap_is_measured() -> None:
    declared = {name for names in FAIRNESS.values() for name in names}
    of_metrics = {f"{name}_difference" for names in TASK_METRICS.values() for name in names}
    assert declared | of_metrics <= set(GAPS)


def test_a_planted_gap_is_found_and_named() -> None:
    truth, outputs, segments = binary(
        {"app": 400, "web": 400, "shop": 400}, {"app": 0.9, "web": 0.9, "shop": 0.5}
    )
    found = {g.name: g for g in gaps(BINARY, truth, outputs, (0, 1), segments, seed=0)}
    odds = found["equalized_odds_difference"]
    assert odds.value == pytest.approx(0.4, abs=0.08)
    assert odds.between is not None and odds.between[0] == "shop"
    assert odds.clearly_beyond(0.2) and not odds.within(0.2)
    assert odds.judged(0.2).startswith("equalized_odds_difference between groups of site 0.4")
    assert " is above 0.2 (95 % interval " in odds.judged(0.2)
    silent = found["false_positive_rate_difference"]
    assert silent.within(0.1) and not silent.clearly_beyond(0.0)


def test_regression_gaps() -> None:
    rng = np.random.default_rng(0)
    sex = np.repeat([1.0, 2.0], 200)
    truth = rng.normal(100, 10, size=400)
    off = np.where(sex == 1, 6.0, -2.0) + rng.normal(size=400)
    names = FAIRNESS["regression"]
    error, absolute = gaps(
        names, truth, Outputs(truth + off), (), pd.DataFrame({"sex": sex}), seed=0
    )
    assert (error.name, absolute.name) == names
    assert error.value == pytest.approx(8, abs=0.5)
    assert error.between == ("2.0", "1.0")
    assert absolute.value == pytest.approx(4, abs=0.5)
    assert error.clearly_beyond(7) and not error.clearly_beyond(8.5)


def test_groups_with_too_few_rows_are_left_out_and_named() -> None:
    truth, outputs, segments = binary(
        {"a": 200, "b": 200, "c": 40, "d": 12}, {"a": 0.8, "b": 0.8, "c": 0.1, "d": 0.0}
    )
    parity, odds = gaps(
        ("demographic_parity_difference", "equalized_odds_difference"),
        truth,
        outputs,
        (0, 1),
        segments,
        seed=0,
    )
    assert parity.left_out == {"d": 12}
    # Of 40 rows about half are positive.
    assert set(odds.left_out) == {"c", "d"} and odds.left_out["c"] < MIN_ROWS
    assert odds.judged(1).endswith(
        f"; left out: c ({odds.left_out['c']}), d ({odds.left_out['d']})"
    )


def test_one_group_has_no_gap() -> None:
    truth, outputs, segments = binary({"a": 200, "d": 12}, {"a": 0.8, "d": 0.0})
    [gap] = gaps(["accuracy_difference"], truth, outputs, (0, 1), segments, seed=0)
    assert (gap.value, gap.low, gap.high, gap.between) == (None, None, None, None)
    assert not gap.within(1) and not gap.clearly_beyond(0)
    assert gap.judged(1) == (
        "accuracy_difference between groups of site cannot be measured: 30 rows are needed of "
        "each group, and there are: d (12)"
    )
    [alone] = gaps(["accuracy_difference"], truth[:200], outputs.take(np.arange(200)), (0, 1),
                   segments[:200], seed=0)  # fmt: skip
    assert alone.too_few() == "two groups are needed, and there is 1"
    assert gaps(["accuracy_difference"], truth, outputs, (0, 1), segments[[]], seed=0) == ()


def test_the_table_says_what_is_known() -> None:
    truth, outputs, segments = binary(
        {"a|b": 200, "c": 200, "d": 3}, {"a|b": 0.9, "c": 0.5, "d": 1}
    )
    few = pd.DataFrame({"few": ["x"] * 402 + ["y"]})
    found = gaps(["accuracy_difference"], truth, outputs, (0, 1), segments.join(few), seed=0)
    lines = gaps_table(found)
    assert lines[1] == "| gap between groups | value | 95 % interval | widest between |"
    assert lines[3].startswith("| site: accuracy_difference | 0.")
    assert lines[3].endswith("| c and a\\|b |")
    assert lines[4] == (
        "| few: accuracy_difference | | | 30 rows are needed of each group, and there are: y (1) |"
    )
    assert gaps_table(()) == []


def test_a_seed_gives_the_same_interval() -> None:
    rows = binary({"a": 100, "b": 100}, {"a": 0.9, "b": 0.6})
    first, again, other = (
        gaps(BINARY, rows[0], rows[1], (0, 1), rows[2], seed=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert [g.value for g in first] == [g.value for g in other] and first != other


@pytest.mark.parametrize(("groups", "rows_each"), [(2, 60), (6, 200)])
def test_no_gap_is_silent_at_the_stated_rate(groups: int, rows_each: int) -> None:
    """5 % of the nights find a gap of nought beyond nought; beyond 0.1, hardly any."""
    sizes = {f"g{i}": rows_each for i in range(groups)}
    found: list[Gap] = []
    for seed in range(150):
        rows = binary(sizes, dict.fromkeys(sizes, 0.7), seed)
        found += gaps(["demographic_parity_difference"], rows[0], rows[1], (0, 1), rows[2], seed=0)
    # Of 150 with a chance of 5 %, 15 or more in 1 of 100.
    assert sum(gap.clearly_beyond(0.0) for gap in found) <= 14
    assert sum(gap.clearly_beyond(0.1) for gap in found) <= 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcd")), max_size=120),
    st.integers(1, 12),
)
def test_whatever_the_rows_a_gap_lies_in_its_interval(
    rows: list[tuple[bool, bool, str]], min_rows: int
) -> None:
    truth, called, site = (np.array([row[i] for row in rows], dtype=object) for i in range(3))
    outputs = Outputs(called.astype(bool) if len(rows) else called)
    segments = pd.DataFrame({"site": site})
    names = [*BINARY, "f1_difference", "roc_auc_difference"]
    for gap in gaps(names, truth, outputs, (False, True), segments, seed=0, min_rows=min_rows):
        listed = {group.value for group in gap.groups} | set(gap.left_out)
        assert listed == set(site)
        if gap.value is None:
            assert len(gap.groups) < 2
        else:
            assert gap.low is not None and gap.high is not None
            assert 0 <= gap.low <= gap.value <= gap.high
