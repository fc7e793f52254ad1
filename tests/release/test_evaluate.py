from __future__ import annotations

import numpy as np
import pytest

from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.release.bundle import open_predictor
from mlops_pipelines.release.evaluate import evaluate
from mlops_pipelines.release.evaluation import Evaluation
from mlops_pipelines.serve.predictor import Predictor
from tests.release.conftest import MODEL, World, cancer_spec


def predictor(world: World, version: int) -> Predictor:
    return open_predictor(world.registry, world.store, MODEL, version)


@pytest.fixture(scope="module")
def better(shared: World) -> Evaluation:
    """Version 2 against the weak version 1."""
    rows = shared.rows.holdout
    return evaluate(
        shared.spec, shared.snapshot, rows, predictor(shared, 2), predictor(shared, 1), 1
    )


def test_the_metrics_are_those_of_training(shared: World, better: Evaluation) -> None:
    for version, metrics in ((2, better.metrics), (1, better.champion_metrics)):
        recorded = shared.registry.version(MODEL, version).metrics
        assert metrics == pytest.approx({name: recorded[name] for name in metrics or {}})
    assert better.rows == shared.snapshot.holdout_rows
    for name, interval in better.intervals.items():
        assert interval.low <= better.metrics[name] <= interval.high
    assert better.judged_by == ("roc_auc", "log_loss")
    # Resampling alone makes a calibration error larger.
    assert set(better.intervals) == set(better.metrics) - {"calibration_error"}


def test_a_better_challenger_passes(better: Evaluation) -> None:
    assert (better.meets_thresholds, better.no_worse_than_champion) == (True, True)
    difference = better.differences["roc_auc"]
    assert difference.improvement == pytest.approx(
        better.metrics["roc_auc"] - (better.champion_metrics or {})["roc_auc"]
    )
    assert difference.clearly_better
    [threshold, loss] = better.thresholds
    assert threshold.sentence == f"roc_auc {better.metrics['roc_auc']:.4g} is at least 0.95"
    assert loss.sentence == f"log_loss {better.metrics['log_loss']:.4g} is at most 0.5"
    [comparison] = better.comparisons
    assert "better than champion v1's" in comparison.sentence


def test_a_worse_challenger_is_refused(shared: World, better: Evaluation) -> None:
    rows = shared.rows.holdout
    worse = evaluate(
        shared.spec, shared.snapshot, rows, predictor(shared, 1), predictor(shared, 2), 2
    )
    assert (worse.meets_thresholds, worse.no_worse_than_champion) == (False, False)
    assert "worse than champion v2's" in worse.comparisons[0].sentence
    assert worse.thresholds[0].sentence.endswith("is below 0.95")
    there, back = better.differences["roc_auc"], worse.differences["roc_auc"]
    assert back.improvement == pytest.approx(-there.improvement)


def test_a_version_is_as_good_as_itself(shared: World) -> None:
    rows = shared.rows.holdout
    model = predictor(shared, 3)
    strict = cancer_spec(gates=[{"metric": "roc_auc", "within_champion": 0}])
    same = evaluate(strict, shared.snapshot, rows, model, model, 3)
    assert same.no_worse_than_champion
    assert (same.differences["roc_auc"].low, same.differences["roc_auc"].high) == (0, 0)


def test_the_first_version_has_no_rival(shared: World) -> None:
    first = evaluate(
        shared.spec, shared.snapshot, shared.rows.holdout, predictor(shared, 2), None, None
    )
    assert (first.champion_metrics, first.differences) == (None, {})
    assert first.no_worse_than_champion
    assert first.comparisons[0].sentence.endswith("no champion yet to compare with")


def test_a_champion_that_needs_a_column_the_holdout_lacks_is_not_comparable(
    shared: World,
) -> None:
    class Narrow:
        """The challenger, which was trained without the first column."""

        meta = predictor(shared, 2).meta

        def __init__(self) -> None:
            self._model = predictor(shared, 2)

        def predict_frame(self, frame: object) -> object:
            rows = shared.rows.holdout
            return self._model.predict_frame(rows)

    rows = shared.rows.holdout.drop(columns="mean radius")
    narrow: Predictor = Narrow()  # type: ignore[assignment]
    found = evaluate(shared.spec, shared.snapshot, rows, narrow, predictor(shared, 1), 1)
    assert found.meets_thresholds
    assert not found.no_worse_than_champion
    assert found.comparisons[0].sentence == (
        "roc_auc cannot be compared: champion v1 cannot answer the challenger's holdout: "
        "cancer v1: no columns ['mean radius']"
    )


def test_segments_are_compared_one_by_one(shared: World) -> None:
    from dataclasses import replace

    rows = shared.rows.holdout.assign(site=np.arange(len(shared.rows.holdout)) % 2)
    rows.loc[:4, "site"] = 9
    snapshot = replace(shared.snapshot, segments=("site",))
    found = evaluate(shared.spec, snapshot, rows, predictor(shared, 2), predictor(shared, 1), 1)
    few, even, odd = sorted(found.slices, key=lambda part: part.n)
    assert (few.segment, few.value, few.n, few.metrics, few.difference) == (
        "site",
        "9",
        5,
        None,
        None,
    )
    for part in (even, odd):
        assert part.metrics is not None
        assert part.difference is not None
        assert part.difference.a == part.metrics["roc_auc"]
    assert "| site = 9 | 5 |" in found.markdown()


def test_the_tables_are_short_enough_to_read(better: Evaluation) -> None:
    text = better.markdown()
    assert len(text) < 1500
    assert text.count("| passed |") == 3
    assert "| roc_auc |" in text
    assert "v1 |" in text


def test_a_bundle_that_cannot_be_loaded_is_one_line(shared: World) -> None:
    shared.registry.tag(MODEL, 3, {"mlops.bundle_digest": ""})
    with pytest.raises(ReleaseError, match="cancer version 3 has no bundle; materialize"):
        predictor(shared, 3)


def test_a_gap_between_groups_is_a_gate(shared: World) -> None:
    from dataclasses import replace

    rows = shared.rows.holdout
    # Malignant ones are told with more errors where the cells are small, so the groups differ.
    site = np.where(rows["mean radius"] > 13, "large", "small")
    snapshot = replace(shared.snapshot, segments=("site",))
    data = {**cancer_spec().data.model_dump(exclude_none=True), "segments": ["site"]}
    data["source"] = {"python": "sklearn.datasets:load_breast_cancer"}
    gate = {"fairness": "demographic_parity_difference", "segment": "site"}
    for bound, passed in ((0.1, False), (0.95, True)):
        spec = cancer_spec(data=data, gates=[{**gate, "at_most": bound}])
        found = evaluate(spec, snapshot, rows.assign(site=site), predictor(shared, 2), None, None)
        [result] = found.thresholds
        assert (result.passed, found.meets_thresholds) == (passed, passed)
        assert result.sentence.startswith("demographic_parity_difference between groups of site 0.")
        assert result.sentence.endswith("widest between large and small)")
        assert [gap.name for gap in found.fairness] == list(spec.gaps)
        assert "| site: demographic_parity_difference | 0." in found.markdown()


def test_a_gap_that_cannot_be_measured_is_refused(shared: World) -> None:
    from dataclasses import replace

    rows = shared.rows.holdout.assign(site="one")
    data = {"source": {"csv": "x.csv"}, "target": "target", "segments": ["site"]}
    gate = {"fairness": "accuracy_difference", "segment": "site", "at_most": 1}
    spec = cancer_spec(data=data, gates=[gate])
    for segments, why in (
        (("site",), "between groups of site cannot be measured: two groups are needed"),
        ((), "the snapshot has no segment site; train again"),
    ):
        snapshot = replace(shared.snapshot, segments=segments)
        found = evaluate(spec, snapshot, rows, predictor(shared, 2), None, None)
        [result] = found.thresholds
        assert not result.passed and why in result.sentence
