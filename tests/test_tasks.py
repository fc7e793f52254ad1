"""What is allowed of a metric, in its own unit."""

from __future__ import annotations

import pytest

from mlops_pipelines.tasks import allowance


@pytest.mark.parametrize(
    ("metric", "allowed", "reference", "expected"),
    [
        ("rmse", 0.2, 65.0, 13.0),
        ("mae", 0.2, 40.0, 8.0),
        ("r2", 0.05, 0.9, 0.05),
        ("roc_auc", 0.05, 0.8, 0.05),
        ("log_loss", 0.1, 3.0, 0.1),
    ],
)
def test_an_error_in_the_targets_unit_may_grow_by_a_share(
    metric: str, allowed: float, reference: float, expected: float
) -> None:
    assert allowance(metric, allowed, reference) == pytest.approx(expected)
