"""The decision table of DESIGN.md, row by row, and what holds over all evidence there can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.react.rollback import Decision, Evidence, decide
from mlops_pipelines.spec import ModelSpec


def spec(mode: str = "automatic", retrain: str = "degradation", cooldown: float = 7) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "churn",
            "task": "binary_classification",
            "data": {"source": {"csv": "churn.csv"}, "target": "churned"},
            "estimator": {"python": "sklearn.linear_model:LogisticRegression"},
            "react": {
                "rollback": {"mode": mode},
                "retrain": {"on": retrain, "cooldown_days": cooldown},
            },
        }
    )


def evidence(**found: object) -> Evidence:
    night = {
        "model": "churn",
        "day": "2026-03-01",
        "version": 3,
        "serving": 3,
        "health": "ok",
        "performance": "ok",
        "drift": "ok",
        "previous": 2,
    }
    return Evidence(**{**night, **found})  # type: ignore[arg-type]


NIGHT = "churn version 3, 2026-03-01"
FELL = "performance is below its baseline"
BETTER = "version 2 is clearly better on the same rows"
NO_BETTER = "version 2 is not clearly better on the same rows"

TABLE = {
    "all is well": (spec(), evidence(), Decision("none", None, f"{NIGHT}: all is well")),
    "too few rows": (
        spec(),
        evidence(
            health="insufficient_data", performance="insufficient_data", drift="insufficient_data"
        ),
        Decision("none", None, f"{NIGHT}: too few rows to judge health, performance, drift"),
    ),
    "too few rows for one": (
        spec(),
        evidence(performance="insufficient_data"),
        Decision("none", None, f"{NIGHT}: too few rows to judge performance; the rest is ok"),
    ),
    "not healthy": (
        spec(),
        evidence(health="alarm"),
        Decision("roll_back", 2, f"{NIGHT}: the service is not healthy"),
    ),
    "not healthy, and nothing before": (
        spec(),
        evidence(health="alarm", previous=None),
        Decision(
            "warn",
            None,
            f"{NIGHT}: the service is not healthy; there is no previous version to put back",
        ),
    ),
    "not healthy, and the one before is quarantined": (
        spec(),
        evidence(health="alarm", previous_quarantined=True),
        Decision(
            "warn",
            None,
            f"{NIGHT}: the service is not healthy; version 2 is quarantined and cannot be put back",
        ),
    ),
    "fell, previous better": (
        spec(),
        evidence(performance="alarm", previous_clearly_better=True),
        Decision("roll_back", 2, f"{NIGHT}: {FELL}, and {BETTER}"),
    ),
    "fell, previous better, recommend": (
        spec("recommend"),
        evidence(performance="alarm", previous_clearly_better=True),
        Decision(
            "recommend",
            2,
            f"{NIGHT}: {FELL}, and {BETTER}; mlops rollback churn --to 2 puts it back",
        ),
    ),
    "fell, previous better, observe": (
        spec("observe"),
        evidence(performance="alarm", previous_clearly_better=True),
        Decision("warn", None, f"{NIGHT}: {FELL}, and {BETTER}; react.rollback.mode is observe"),
    ),
    "fell, previous better but quarantined": (
        spec(),
        evidence(performance="alarm", previous_clearly_better=True, previous_quarantined=True),
        Decision("retrain", None, f"{NIGHT}: {FELL}, and version 2 is quarantined"),
    ),
    "fell, previous no better": (
        spec(),
        evidence(performance="alarm", drift="alarm"),
        Decision("retrain", None, f"{NIGHT}: {FELL}, and {NO_BETTER}"),
    ),
    "fell, nothing before": (
        spec(),
        evidence(performance="alarm", previous=None),
        Decision("retrain", None, f"{NIGHT}: {FELL}, and there is no previous version"),
    ),
    "fell, retrained yesterday": (
        spec(),
        evidence(performance="alarm", days_since_retrain=1.0),
        Decision(
            "warn",
            None,
            f"{NIGHT}: {FELL}, and {NO_BETTER}; retraining was requested 1.0 days ago "
            "and may be again after 7",
        ),
    ),
    "fell, never retrain": (
        spec(retrain="never"),
        evidence(performance="alarm"),
        Decision("warn", None, f"{NIGHT}: {FELL}, and {NO_BETTER}; react.retrain.on is never"),
    ),
    "drift, unharmed": (
        spec(),
        evidence(drift="alarm", drifted_columns=("age", "plan")),
        Decision("warn", None, f"{NIGHT}: age, plan drifted; performance is unharmed"),
    ),
    "drift, no labels yet": (
        spec(),
        evidence(drift="alarm", drifted_columns=("age",), performance="insufficient_data"),
        Decision("warn", None, f"{NIGHT}: age drifted; performance is not yet known"),
    ),
    "drift, retrain on drift": (
        spec(retrain="drift"),
        evidence(drift="alarm", drifted_columns=("age",)),
        Decision("retrain", None, f"{NIGHT}: age drifted; performance is unharmed"),
    ),
    "a night of a version that left": (
        spec(),
        evidence(performance="alarm", previous_clearly_better=True, serving=2),
        Decision("none", None, f"{NIGHT} is about a version that left: version 2 serves now"),
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_table(case: str) -> None:
    declared, found, decision = TABLE[case]
    assert decide(declared, found) == decision


STATUS = st.sampled_from(["ok", "alarm", "insufficient_data"])
VERSION = st.integers(1, 4)
EVIDENCE = st.builds(
    Evidence,
    model=st.just("churn"),
    day=st.just("2026-03-01"),
    version=VERSION,
    serving=st.none() | VERSION,
    health=STATUS,
    performance=STATUS,
    drift=STATUS,
    drifted_columns=st.sampled_from([(), ("age",)]),
    previous=st.none() | VERSION,
    previous_quarantined=st.booleans(),
    previous_clearly_better=st.booleans(),
    days_since_retrain=st.none() | st.floats(0, 30),
)
SPEC = st.builds(
    spec,
    st.sampled_from(["observe", "recommend", "automatic"]),
    st.sampled_from(["never", "degradation", "drift"]),
    st.sampled_from([0.0, 7.0]),
)


@given(SPEC, EVIDENCE)
def test_what_holds_over_all_evidence(declared: ModelSpec, found: Evidence) -> None:
    decision = decide(declared, found)
    alarms = "alarm" in (found.health, found.performance, found.drift)
    moves = decision.action in ("roll_back", "recommend")

    assert decide(declared, found) == decision
    assert "\n" not in decision.reason
    assert (decision.to is not None) == moves
    if not alarms or found.serving != found.version:
        assert decision.action == "none"
    else:
        assert decision.action != "none"
    if moves:
        assert decision.to == found.previous != found.version
        assert not found.previous_quarantined
        worse = found.performance == "alarm" and found.previous_clearly_better
        assert found.health == "alarm" or worse
        mode = {"roll_back": "automatic", "recommend": "recommend"}[decision.action]
        assert declared.react.rollback.mode == mode
    if decision.action == "retrain":
        assert found.health != "alarm"
        assert declared.react.retrain.on != "never"
        assert found.performance == "alarm" or declared.react.retrain.on == "drift"
        since = found.days_since_retrain
        assert since is None or since >= declared.react.retrain.cooldown_days
