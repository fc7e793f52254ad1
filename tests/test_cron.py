from __future__ import annotations

import pytest
from dagster import DefaultScheduleStatus, ScheduleDefinition, define_asset_job
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.cron import is_cron

NUMBER = st.integers(0, 70).map(str)
SPAN = st.one_of(
    st.just("*"),
    NUMBER,
    st.tuples(NUMBER, NUMBER).map("-".join),
    st.sampled_from(["mon", "SUN", "jan", "dec", "mon-fri", "feb-mar", "sat-sun"]),
)
ITEM = SPAN | st.tuples(SPAN, st.integers(0, 80).map(str)).map("/".join)
FIELD = st.lists(ITEM, min_size=1, max_size=2).map(",".join)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 2 * * *", True),
        ("*/15 0-6,22 1 jan-mar mon", True),
        ("0 0 * * 7", True),
        ("0 2 * *", False),
        ("0 2 * * * *", False),
        ("@daily", False),
        ("60 2 * * *", False),
        ("0 2 0 * *", False),
        ("0 2 * * mon-xyz", False),
        ("5-1 * * * *", False),
        ("*/0 * * * *", False),
        ("\u00b2 * * * *", False),
        ("- * * * *", False),
        ("", False),
    ],
)
def test_cron(expression: str, expected: bool) -> None:
    assert is_cron(expression) is expected


@pytest.mark.filterwarnings("ignore:Found a cron schedule with an interval")  # of `0-0`
@settings(max_examples=200, deadline=None)
@given(fields=st.lists(FIELD, min_size=5, max_size=5))
def test_what_is_accepted_is_accepted_by_dagster(fields: list[str]) -> None:
    expression = " ".join(fields)
    if is_cron(expression):
        ScheduleDefinition(
            name="nightly",
            job=define_asset_job("job"),
            cron_schedule=expression,
            execution_timezone="UTC",
            default_status=DefaultScheduleStatus.RUNNING,
        )


@given(text=st.text())
def test_any_text_is_a_cron_expression_or_not(text: str) -> None:
    assert is_cron(text) in (True, False)
