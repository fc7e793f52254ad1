from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_pipelines.serve.predictor import BundleError, ModelError, Predictor
from mlops_pipelines.serve.table import TableReader

NAMES = ["cancer", "cancer_v2", "diabetes", "wine"]

LOADED = """
import json, sys
from pathlib import Path
from mlops_pipelines.serve.predictor import Predictor
predictor = Predictor.load(Path(sys.argv[1]), verify=True)
assert predictor.disagreement() is None
assert predictor.batch_invariant
heavy = {"onnx", "pandas", "pyarrow", "scipy", "skl2onnx", "sklearn", "skops"}
print(json.dumps({"runtime": predictor.runtime, "heavy": sorted(heavy & sys.modules.keys())}))
"""


def golden(bundle: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((bundle / "golden.json").read_text())
    return said


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, writers: Any) -> tuple[Path, pd.DataFrame]:
    """A bundle of all four types, with nulls and names that are no identifiers, and its rows."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame(
        {
            "the plan": pd.array(rng.choice(["basic", "gold", "silver"], n), dtype="str"),
            "age": rng.integers(18, 90, n),
            "numbers": rng.normal(50_000.0, 9_000.0, n),
            "größe-2": rng.normal(size=n),
            "member": rng.random(n) < 0.5,
        }
    )
    frame.loc[::5, "numbers"] = np.nan
    scaled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepare = make_column_transformer(
        (scaled, ["numbers", "age"]), (encoder, ["the plan", "member"])
    )
    answer = np.where((frame["age"] > 50) ^ (frame["the plan"] == "gold"), "yes", "no")
    model = make_pipeline(prepare, RandomForestClassifier(5, random_state=0)).fit(frame, answer)
    columns = [
        {"name": "the plan", "type": "string", "nullable": False},
        {"name": "age", "type": "long", "nullable": False},
        {"name": "numbers", "type": "double", "nullable": True},
        {"name": "größe-2", "type": "double", "nullable": False},
        {"name": "member", "type": "boolean", "nullable": False},
    ]
    root = tmp_path_factory.mktemp("mixed")
    bundle = writers.bundle(
        root / "skops",
        model,
        frame[:40],
        columns,
        model="mixed",
        trusted=["numpy.dtype", "sklearn.tree._tree.Tree"],
    )
    return writers.as_onnx(bundle, root / "onnx", frame), frame


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_scikit_learn_did_in_training(
    onnx_bundles: dict[str, Path], bundles: Any, name: str
) -> None:
    predictor = Predictor.load(onnx_bundles[name], verify=True)
    assert predictor.runtime == "onnxruntime"
    assert predictor.disagreement() is None
    said = golden(onnx_bundles[name])
    answer = predictor.answer_golden()
    assert answer.scores == pytest.approx(said["scores"], rel=1e-5, abs=1e-5)
    assert answer.predictions == pytest.approx(said["predictions"], rel=1e-5)
    reference = Predictor.load(getattr(bundles, name)).answer_golden()
    for now, then in ((answer.predictions, reference.predictions), (answer.scores, said["scores"])):
        assert [type(value) for value in now] == [type(value) for value in then]
    if reference.probabilities is None:
        assert answer.probabilities is None
    else:
        assert np.allclose(answer.probabilities, reference.probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_answered_alike_alone_and_among_others(
    onnx_bundles: dict[str, Path], name: str
) -> None:
    predictor = Predictor.load(onnx_bundles[name])
    assert predictor.batch_invariant
    rows = golden(onnx_bundles[name])["rows"]
    together = predictor.predict_rows(rows)
    for size in (1, 3, 7):
        for start in range(0, len(rows), size):
            part = predictor.predict_rows(rows[start : start + size])
            assert part == together.part(start, start + size)
    frame = pd.DataFrame(rows, columns=list(predictor.meta.names))
    assert predictor.predict_frame(frame.assign(extra=1)) == together


def test_a_table_with_text_booleans_and_nulls_is_answered_as_its_rows_are(
    mixed: tuple[Path, pd.DataFrame],
) -> None:
    predictor = Predictor.load(mixed[0])
    rows = golden(mixed[0])["rows"]
    table = TableReader(predictor.meta.columns).from_rows(rows)
    assert table is not None
    assert any(None in row for row in rows)
    assert predictor.predict_table(table) == predictor.predict_rows(rows)


def test_text_booleans_and_nulls_are_answered(mixed: tuple[Path, pd.DataFrame]) -> None:
    bundle, frame = mixed
    predictor = Predictor.load(bundle, verify=True)
    assert predictor.disagreement() is None
    rows = golden(bundle)["rows"]
    assert None in rows[0] and "gold" in [row[0] for row in rows]
    together = predictor.predict_rows(rows)
    assert predictor.predict_frame(frame[:40]) == together
    assert predictor.predict_frame(frame[:40].astype(object)) == together
    assert [predictor.predict_rows([row]) for row in rows] == [
        together.part(place, place + 1) for place in range(len(rows))
    ]
    assert set(together.predictions) == {"no", "yes"}


def test_labels_are_of_the_types_they_were_declared_with(tmp_path: Path, writers: Any) -> None:
    from sklearn.tree import DecisionTreeClassifier

    frame = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(1, 0, 40)})
    over = frame["a"] > 0.5
    for number, labels in enumerate((over, over * 2.0, np.where(over, "high", "low"))):
        model = DecisionTreeClassifier().fit(frame, labels)
        trusted = ["numpy.dtype", "sklearn.tree._tree.Tree"]
        bundle = writers.bundle(
            tmp_path / f"{number}",
            model,
            frame,
            writers.doubles(frame),
            model="m",
            trusted=trusted,
        )
        predictor = Predictor.load(writers.as_onnx(bundle, tmp_path / f"{number}-onnx", frame))
        found = predictor.answer_golden().predictions
        assert found == list(labels)
        assert {type(label) for label in found} == {type(np.asarray(labels)[0].item())}


def test_neither_pandas_nor_scikit_learn_is_loaded(
    onnx_bundles: dict[str, Path], writers: Any
) -> None:
    bundle = onnx_bundles["cancer_v2"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOADED, str(bundle)],
        env=writers.environment(bundle),
        capture_output=True,
        check=False,
    )
    assert done.stderr.decode() == ""
    assert json.loads(done.stdout) == {"runtime": "onnxruntime", "heavy": []}


def test_an_answer_that_is_no_number_is_an_error_of_the_model(
    onnx_bundles: dict[str, Path],
) -> None:
    predictor = Predictor.load(onnx_bundles["diabetes"])
    row = golden(onnx_bundles["diabetes"])["rows"][0]
    with pytest.raises(ModelError, match="^OverflowError$"):
        predictor.predict_rows([[1.7e308] * len(row)])
    assert math.isfinite(predictor.predict_rows([row]).predictions[0])


def test_an_error_of_the_model_does_not_quote_the_row(
    onnx_bundles: dict[str, Path], mixed: tuple[Path, pd.DataFrame]
) -> None:
    with pytest.raises(ModelError, match="^ValueError$"):
        Predictor.load(onnx_bundles["cancer"]).predict_rows([["secret"] * 30])
    row = golden(mixed[0])["rows"][0]
    with pytest.raises(ModelError, match="^TypeError$"):
        Predictor.load(mixed[0]).predict_rows([[None, *row[1:]]])


def test_a_graph_that_is_altered_or_broken_is_named(
    onnx_bundles: dict[str, Path], tmp_path: Path, writers: Any
) -> None:
    folder = shutil.copytree(onnx_bundles["wine"], tmp_path / "b")
    graph = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(graph[: len(graph) // 2])
    with pytest.raises(BundleError, match=r"model\.onnx was altered: sha256"):
        Predictor.load(folder, verify=True)
    writers.manifest(folder)
    with pytest.raises(BundleError, match=r"model\.onnx cannot be loaded: \w+$"):
        Predictor.load(folder, verify=True)
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read: No such file"):
        Predictor.load(folder)
