from __future__ import annotations

from typing import Any

import pytest

from mlops_pipelines.gate_spec import Gate
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.tasks import TASK_METRICS


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "churn",
            "task": "binary_classification",
            "data": {"source": {"csv": "churn.csv"}, "target": "churned"},
            "estimator": {"python": "a:b"},
            **fields,
        }
    )


def test_all_but_four_fields_have_a_default() -> None:
    found = spec()

    assert found.main_metric == "roc_auc"
    assert found.data.source.kind == "csv"
    assert found.data.split.holdout == 0.2
    assert found.release.replicas.model_dump() == {"min": 1, "max": 1}
    assert found.monitor.schedule == "0 2 * * *"
    assert found.react.rollback.mode == "recommend"
    assert found.react.retrain.on == "degradation"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [("roc_auc", 0.01)]),
        ({"task": "multiclass_classification"}, [("accuracy", 0.01)]),
        ({"task": "regression"}, [("r2", 0.01)]),
        ({"task": "regression", "react": {"rollback": {"metric": "mae"}}}, [("r2", 0.01)]),
        ({"react": {"rollback": {"metric": "f1"}}}, [("f1", 0.01)]),
        ({"gates": [{"metric": "f1", "at_least": 0.5}]}, [("f1", None), ("roc_auc", 0.01)]),
        ({"gates": [{"metric": "f1", "within_champion": 0}]}, [("f1", 0)]),
    ],
)
def test_a_comparison_with_the_champion_is_always_among_the_gates(
    fields: dict[str, Any], expected: list[tuple[str, float | None]]
) -> None:
    gates = spec(**fields).all_gates

    assert [(gate.metric, gate.within_champion) for gate in gates] == expected


def test_at_most_as_many_replicas_as_at_least_where_only_these_are_said() -> None:
    found = spec(release={"replicas": {"min": 3}})

    assert (found.release.replicas.min, found.release.replicas.max) == (3, 3)


def test_a_spec_never_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        spec().name = "other"  # type: ignore[misc]


def test_a_spec_is_told_and_read_again() -> None:
    found = spec(gates=[Gate(metric="f1", at_least=0.5)], owners=["a@b.org", "team:risk"])

    assert ModelSpec.model_validate(found.model_dump(mode="json")) == found


def test_every_metric_that_a_task_names_is_measured() -> None:
    from mlops_pipelines.measure.metrics import METRICS

    assert {name for names in TASK_METRICS.values() for name in names} <= set(METRICS)


@pytest.mark.parametrize("owner", ["team:risk", "team:a.b-c", "a@b.org", "a.b+c_d@x-y.co"])
def test_an_owner_that_is_accepted_is_accepted_by_dagster(owner: str) -> None:
    import dagster as dg

    assert spec(owners=[owner]).owners == (owner,)
    assert list(dg.AssetSpec("a", owners=[owner]).owners) == [owner]


def test_the_security_assessment_blocks_on_high_findings_unless_said_otherwise() -> None:
    assert spec().security.model_dump() == {"block_on": "high", "accept": ()}
    said = {"block_on": "none", "accept": [{"kind": "no lock", "reason": "a demo"}]}

    assert spec(security=said).security.accept[0].kind == "no lock"


def test_the_gaps_of_a_task_are_measured_with_that_of_the_watched_metric_and_the_gated() -> None:
    gate = {"fairness": "recall_difference", "segment": "site", "at_most": 0.1}
    data = {"source": {"csv": "churn.csv"}, "target": "churned", "segments": ["site"]}
    found = spec(data=data, gates=[gate])

    assert found.fairness_gates == found.gates
    assert [(g.fairness or g.metric) for g in found.all_gates] == ["recall_difference", "roc_auc"]
    assert found.gaps == (
        "demographic_parity_difference",
        "equal_opportunity_difference",
        "false_positive_rate_difference",
        "equalized_odds_difference",
        "accuracy_difference",
        "roc_auc_difference",
        "recall_difference",
    )
    assert spec(task="regression").gaps == (
        "mean_error_difference",
        "mae_difference",
        "rmse_difference",
    )
