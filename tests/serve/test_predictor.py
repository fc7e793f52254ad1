from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_pipelines.serve.predictor import BundleError, ModelError, Predictor

NAMES = ["cancer", "cancer_v2", "mixed", "diabetes", "wine", "fragile"]


def rows_of(frame: pd.DataFrame) -> list[list[Any]]:
    rows = frame.astype(object)
    return rows.where(rows.notna(), None).to_numpy().tolist()


@pytest.mark.parametrize("name", NAMES)
def test_answers_its_golden_rows_as_at_training_time(bundles: Any, name: str) -> None:
    predictor = Predictor.load(getattr(bundles, name), verify=True)
    assert predictor.disagreement() is None
    golden = json.loads((getattr(bundles, name) / "golden.json").read_text())
    answer = predictor.answer_golden()
    # The last bits of a sum in BLAS follow memory layout and threads, so not to the last bit.
    assert answer.scores == pytest.approx(golden["scores"], rel=1e-9)
    if name == "diabetes":
        assert answer.predictions == answer.scores
    else:
        assert answer.predictions == golden["predictions"]
    assert [type(value) for value in answer.predictions] == [
        type(value) for value in golden["predictions"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_answered_alike_alone_and_among_others(bundles: Any, name: str) -> None:
    predictor = Predictor.load(getattr(bundles, name))
    golden = json.loads((getattr(bundles, name) / "golden.json").read_text())
    together = predictor.answer_golden()
    for index, row in enumerate(golden["rows"]):
        alone = predictor.predict_rows([row])
        if name != "diabetes":
            assert alone.predictions == [together.predictions[index]]
        assert alone.scores == pytest.approx([together.scores[index]], rel=1e-12)


@pytest.mark.parametrize("name", ["cancer", "diabetes", "wine"])
def test_many_rows_are_answered_as_a_few_are(bundles: Any, name: str) -> None:
    predictor = Predictor.load(getattr(bundles, name))
    rows = json.loads((getattr(bundles, name) / "golden.json").read_text())["rows"]
    few, many = predictor.predict_rows(rows), predictor.predict_rows(rows * 4)
    assert many.predictions == pytest.approx(few.predictions * 4, rel=1e-12)
    assert many.scores == pytest.approx(few.scores * 4, rel=1e-12)


def test_a_bundle_from_before_there_was_a_choice_is_scikit_learns(bundles: Any) -> None:
    predictor = Predictor.load(bundles.cancer)
    assert predictor.runtime == "scikit-learn"
    assert "not converted yet" in predictor.meta.runtime.reason


def test_whether_rows_may_be_answered_together_is_found_out(bundles: Any) -> None:
    # Trees add up row by row; whether BLAS does depends on the processor.
    assert Predictor.load(bundles.cancer).batch_invariant
    fragile = Predictor.load(bundles.fragile)
    without_rows = Predictor(fragile.meta, fragile._model, {"rows": []})
    assert not without_rows.batch_invariant


def test_a_frame_is_answered_as_its_rows_are(bundles: Any) -> None:
    predictor = Predictor.load(bundles.mixed)
    rows = bundles.mixed_rows
    by_rows = predictor.predict_rows(rows_of(rows))
    assert predictor.predict_frame(rows.assign(extra=1)) == by_rows
    assert predictor.predict_frame(rows.astype(object)) == by_rows
    assert predictor.predict_columns({name: rows[name].to_numpy() for name in rows}) == by_rows
    assert by_rows.scores == [row[1] for row in by_rows.probabilities]


def test_a_missing_column_is_named(bundles: Any) -> None:
    predictor = Predictor.load(bundles.mixed)
    with pytest.raises(BundleError, match=r"mixed v1: no columns \['plan', 'member'\]"):
        predictor.predict_frame(bundles.mixed_rows[["age", "income"]])


def test_a_multiclass_score_is_that_of_the_predicted_class(bundles: Any) -> None:
    answer = Predictor.load(bundles.wine).answer_golden()
    assert set(answer.predictions) == {0, 1, 2}
    assert answer.scores == [max(row) for row in answer.probabilities]


def test_an_error_of_the_model_does_not_quote_the_row(bundles: Any) -> None:
    predictor = Predictor.load(bundles.fragile)
    with pytest.raises(ModelError) as caught:
        predictor.predict_rows([[-123.5]])
    assert str(caught.value) == "ValueError"
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_threshold_of_the_estimator_is_kept(bundles: Any, tmp_path: Path, writers: Any) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import FixedThresholdClassifier

    frame = bundles.cancer_rows[["mean radius", "mean texture"]]
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.9, pos_label=True)
    model.fit(frame, frame["mean radius"] < 14)
    folder = writers.bundle(tmp_path / "b", model, frame, writers.doubles(frame), model="m")
    answer = Predictor.load(folder).predict_frame(frame)
    assert answer.predictions == model.predict(frame).tolist()
    assert answer.predictions != [score > 0.5 for score in answer.scores]


def test_without_probabilities_there_is_no_score(
    bundles: Any, tmp_path: Path, writers: Any
) -> None:
    from sklearn.svm import LinearSVC

    frame = bundles.cancer_rows[["mean radius"]]
    model = LinearSVC().fit(frame, frame["mean radius"] < 14)
    folder = writers.bundle(tmp_path / "b", model, frame, writers.doubles(frame), model="m")
    predictor = Predictor.load(folder)
    answer = predictor.predict_frame(frame)
    assert (answer.scores, answer.probabilities) == (None, None)
    assert predictor.disagreement() is None


def test_what_differs_from_training_time_is_counted(
    bundles: Any, tmp_path: Path, writers: Any
) -> None:
    folder = shutil.copytree(bundles.cancer_v2, tmp_path / "b")
    golden = json.loads((folder / "golden.json").read_text())
    golden["scores"][3] += 0.01
    golden["scores"][8] += 0.01
    (folder / "golden.json").write_text(json.dumps(golden))
    writers.manifest(folder)
    reason = Predictor.load(folder, verify=True).disagreement()
    assert reason == "2 golden scores differ: rows 3, 8"


@pytest.mark.parametrize("file", ["golden.json", "model.skops", "code/mlops_pipelines/__init__.py"])
def test_an_altered_file_is_named(bundles: Any, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(bundles.cancer_v2, tmp_path / "b")
    with (folder / file).open("ab") as altered:
        altered.write(b" ")
    with pytest.raises(BundleError, match=f"{file} was altered: sha256"):
        Predictor.load(folder, verify=True)


def test_an_altered_list_of_files_is_found(bundles: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(bundles.cancer_v2, tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["golden.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="manifest.json was altered"):
        Predictor.load(folder, verify=True)


def test_types_that_are_not_trusted_are_not_loaded(
    bundles: Any, tmp_path: Path, writers: Any
) -> None:
    folder = shutil.copytree(bundles.cancer, tmp_path / "b")
    said = json.loads((folder / "bundle.json").read_text()) | {"trusted_types": []}
    (folder / "bundle.json").write_text(json.dumps(said))
    with pytest.raises(BundleError, match=r"not trusted: .*TreePredictor"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 3}, "bundle.json: schema 3, expected 1 or 2"),
        ({"schema": 2}, "bundle.json lacks 'runtime'"),
        (
            {"schema": 2, "runtime": {"name": "torch", "reason": ""}},
            r"runtime 'torch', expected one of \('scikit-learn', 'onnxruntime'\)",
        ),
        ({"task": "ranking"}, "task 'ranking', expected one of"),
        ({"classes": None}, "classes do not fit the task 'binary_classification'"),
        ({"columns": [{"name": "a"}]}, "bundle.json lacks 'type'"),
        ({"columns": [{"name": "a", "type": "date", "nullable": False}]}, r"types \['date'\]"),
    ],
)
def test_a_bundle_that_is_not_understood_says_why(
    bundles: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = shutil.copytree(bundles.cancer_v2, tmp_path / "b")
    said = json.loads((folder / "bundle.json").read_text()) | change
    (folder / "bundle.json").write_text(json.dumps(said))
    with pytest.raises(BundleError, match=message):
        Predictor.load(folder)


def test_a_missing_bundle_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="manifest.json cannot be read: No such file"):
        Predictor.load(tmp_path / "none")


def test_rows_of_the_wrong_length_are_one_clear_line(bundles: Any, writers: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlops_pipelines.serve"]
        + ["--bundle", bundles.diabetes, "--answer"],
        check=False,
        input=b'{"rows": [[1, 2]]}',
        env=writers.environment(bundles.diabetes),
        capture_output=True,
    )
    assert done.returncode == 2
    expected = "mlops_pipelines.serve: stdin: expected rows of 10 values, not so in rows [0]\n"
    assert done.stderr.decode() == expected
