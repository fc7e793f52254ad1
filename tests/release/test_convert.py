from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from mlops_pipelines.release.convert import Conversion, convert
from mlops_pipelines.serve.bundle import Bundle, Column, Runtime
from mlops_pipelines.serve.onnx_model import OnnxModel
from mlops_pipelines.serve.sklearn_model import SklearnModel

BINARY, MULTICLASS, REGRESSION = (
    "binary_classification",
    "multiclass_classification",
    "regression",
)
N = 300


def meta_of(frame: pd.DataFrame, target: Any, task: str) -> Bundle:
    kinds = {"f": "double", "i": "long", "b": "boolean", "O": "boolean"}
    columns = tuple(
        Column(
            name,
            "string" if isinstance(values.dtype, pd.StringDtype) else kinds[values.dtype.kind],
            bool(values.isna().any()),
        )
        for name, values in frame.items()
    )
    classes = None if task == REGRESSION else tuple(np.unique(target).tolist())
    positive = classes[1] if classes and task == BINARY else None
    where = Path("bundle")
    return Bundle(where, "m", 1, task, columns, "target", classes, positive, (), "", "", "")


def converted(estimator: Any, frame: pd.DataFrame, target: Any, task: str) -> Conversion:
    return convert(estimator.fit(frame, target), meta_of(frame, target, task), frame)


def table(nulls: bool = False) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of all four types and their two classes; with `nulls`, numbers may be missing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "plan": pd.array(rng.choice(["basic", "gold", "silver"], N), dtype="str"),
            "age": rng.integers(18, 90, N),
            "income": rng.normal(50_000.0, 9_000.0, N),
            "member": rng.random(N) < 0.5,
        }
    )
    target = np.where((frame["age"] > 50) ^ (frame["plan"] == "gold"), "yes", "no")
    if nulls:
        frame.loc[::5, "income"] = np.nan
    return frame, target


def prepared(numbers: Any, text: Any) -> Any:
    return make_column_transformer((numbers, ["age", "income"]), (text, ["plan", "member"]))


def one_hot() -> Any:
    return OneHotEncoder(handle_unknown="ignore", max_categories=50, sparse_output=False)


def imputed() -> Any:
    return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())


def cancer(nulls: bool = False) -> tuple[pd.DataFrame, Any]:
    rows, target = load_breast_cancer(return_X_y=True, as_frame=True)
    rows = rows.astype(float)
    if nulls:
        rows.iloc[::7, 3] = np.nan
    return rows, target


def wine() -> tuple[pd.DataFrame, Any]:
    return load_wine(return_X_y=True, as_frame=True)


def diabetes() -> tuple[pd.DataFrame, Any]:
    return load_diabetes(return_X_y=True, as_frame=True, scaled=False)


def tiny_diabetes() -> tuple[pd.DataFrame, Any]:
    rows, target = diabetes()
    return rows, target / 1e6


ALIKE: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
    "boosted trees": (lambda: HistGradientBoostingClassifier(max_iter=10), cancer, BINARY),
    "boosted trees with nulls": (
        lambda: HistGradientBoostingClassifier(max_iter=10),
        lambda: cancer(nulls=True),
        BINARY,
    ),
    "a scaled forest": (
        lambda: make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)),
        cancer,
        BINARY,
    ),
    "a linear model": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        cancer,
        BINARY,
    ),
    "a linear model with nulls": (
        lambda: make_pipeline(imputed(), LogisticRegression()),
        lambda: cancer(nulls=True),
        BINARY,
    ),
    "neighbours": (
        lambda: make_pipeline(StandardScaler(), KNeighborsClassifier()),
        cancer,
        BINARY,
    ),
    "three classes": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        wine,
        MULTICLASS,
    ),
    "three classes by trees": (
        lambda: HistGradientBoostingClassifier(max_iter=10),
        wine,
        MULTICLASS,
    ),
    "three classes by Bayes": (GaussianNB, wine, MULTICLASS),
    "a regression": (Ridge, diabetes, REGRESSION),
    "a regression by trees": (
        lambda: GradientBoostingRegressor(n_estimators=20, random_state=0),
        diabetes,
        REGRESSION,
    ),
    "a regression of tiny numbers": (
        lambda: HistGradientBoostingRegressor(max_iter=20),
        tiny_diabetes,
        REGRESSION,
    ),
    "text, linear": (
        lambda: make_pipeline(prepared(imputed(), one_hot()), LogisticRegression()),
        lambda: table(nulls=True),
        BINARY,
    ),
    "text, trees": (
        lambda: make_pipeline(
            prepared("passthrough", one_hot()), HistGradientBoostingClassifier(max_iter=10)
        ),
        table,
        BINARY,
    ),
    "text as numbers": (
        lambda: make_pipeline(
            make_column_transformer(
                (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["plan"]),
                (StandardScaler(), ["age", "income"]),
            ),
            LogisticRegression(),
        ),
        table,
        BINARY,
    ),
    "numbers by name": (
        lambda: make_pipeline(
            make_column_transformer((StandardScaler(), ["worst area", "mean area"])),
            LogisticRegression(),
        ),
        cancer,
        BINARY,
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_converts_answers_alike(name: str) -> None:
    make, rows, task = ALIKE[name]
    frame, target = rows()
    conversion = converted(make(), frame, target, task)
    found = conversion.runtime
    assert found.name == "onnxruntime", found.reason
    assert conversion.graph
    assert (found.differing, found.rows, found.tolerance) == (0, len(frame), 1e-5)
    assert found.largest_difference is not None and found.largest_difference <= 1e-6


def test_a_regressions_difference_is_relative_to_what_it_predicts() -> None:
    frame, target = tiny_diabetes()
    found = converted(HistGradientBoostingRegressor(max_iter=20), frame, target, REGRESSION).runtime
    assert found.scale == pytest.approx(np.mean(target), rel=0.01)
    # Compared as they are, these predictions would agree however wrong they were.
    assert found.largest_difference is not None and found.largest_difference > 1e-9


def test_the_same_model_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    import skops.io

    frame, target = table(nulls=True)
    model = make_pipeline(prepared(imputed(), one_hot()), LogisticRegression()).fit(frame, target)
    skops.io.dump(model, tmp_path / "model.skops")
    code = f"""
import hashlib, skops.io
from tests.release.test_convert import *
frame, target = table(nulls=True)
model = skops.io.load({str(tmp_path / "model.skops")!r}, trusted=["numpy.dtype"])
graph = convert(model, meta_of(frame, target, BINARY), frame).graph
print(hashlib.sha256(graph).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    graph = convert(model, meta_of(frame, target, BINARY), frame).graph
    assert graph is not None
    assert done.stdout.strip() == hashlib.sha256(graph).hexdigest()


def kept(make: Any, rows: tuple[pd.DataFrame, Any], task: str = BINARY) -> Conversion:
    conversion = converted(make, *rows, task)
    assert conversion.graph is None
    assert conversion.runtime.name == "scikit-learn"
    # A bundle of scikit-learn answers as in training: nothing else is tolerated.
    assert (conversion.runtime.tolerance, conversion.runtime.scale) == (None, 1.0)
    return conversion


def test_text_that_may_be_null_stays_with_scikit_learn() -> None:
    frame, target = table()
    frame["plan"] = frame["plan"].where(frame.index % 3 > 0)
    found = kept(
        make_pipeline(prepared(StandardScaler(), one_hot()), LogisticRegression()), (frame, target)
    )
    assert found.runtime.reason == "a text column may be null, and ONNX has no null strings"
    assert not found.runtime.disagrees


def test_what_cannot_be_converted_is_no_disagreement() -> None:
    found = kept(make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()), cancer())
    assert found.runtime.reason.startswith("ONNX Runtime cannot serve this LogisticRegression (")
    assert not found.runtime.disagrees
    many = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.4)
    found = kept(make_pipeline(prepared(StandardScaler(), many), LogisticRegression()), table())
    assert not found.runtime.disagrees


def test_what_converts_and_answers_otherwise_is_a_disagreement() -> None:
    # ONNX knows no forest whose trees say where a null goes.
    found = kept(RandomForestClassifier(10, random_state=0), cancer(nulls=True)).runtime
    assert found.disagrees
    assert found.rows == 569
    assert found.largest_difference is not None and found.largest_difference > 0.01
    assert found.reason == (
        "ONNX Runtime answers 569 holdout rows, also with nulls and unknown categories put in, "
        f"otherwise: {found.differing} with another prediction, numbers apart by up to "
        f"{found.largest_difference:.2g} (1e-05 is allowed)"
    )


def test_a_difference_that_only_nulls_show_is_found() -> None:
    frame, target = cancer(nulls=True)
    model = RandomForestClassifier(10, random_state=0).fit(frame, target)
    meta = meta_of(frame, target, BINARY)
    whole = frame[frame.notna().all(axis=1)]
    assert convert(model, meta, whole).runtime.disagrees


def test_a_model_that_refuses_unknown_categories_goes_on_refusing_them() -> None:
    strict = OneHotEncoder(handle_unknown="error", sparse_output=False)
    model = make_pipeline(prepared("passthrough", strict), DecisionTreeClassifier(max_depth=3))
    found = kept(model, table()).runtime
    assert found.reason == "scikit-learn refuses rows that ONNX Runtime would answer (ValueError)"
    frame, target = table()
    meta = meta_of(frame, target, BINARY)
    plan = Column("plan", "string", False, levels=("basic", "gold", "silver"))
    # Where the server refuses them itself, nothing is lost.
    known = Bundle(**{**vars(meta), "columns": (plan, *meta.columns[1:])})
    assert convert(model.fit(frame, target), known, frame).runtime.name == "onnxruntime"


def test_a_model_without_probabilities_is_converted_or_kept() -> None:
    frame, target = wine()
    found = converted(SVC(), frame, target, MULTICLASS)
    if found.graph is not None:
        meta = meta_of(frame, target, MULTICLASS)
        answer = OnnxModel(meta, found.graph).answer(frame[:3].to_numpy().tolist())
        assert (answer.scores, answer.probabilities) == (None, None)


@pytest.mark.parametrize(
    ("runtime", "passed", "measured"),
    [
        (Runtime("onnxruntime", "alike", 1e-5, 1.0, 1e-7, 0, 90), True, (90, 0, 1e-7)),
        (Runtime("scikit-learn", "not converted"), True, (None, None, None)),
        (Runtime("scikit-learn", "other", None, 1.0, 0.1, 3, 90), False, (90, 3, 0.1)),
    ],
)
def test_only_a_model_that_answers_otherwise_is_warned_of(
    runtime: Runtime, passed: bool, measured: tuple[Any, ...]
) -> None:
    from mlops_pipelines.release.assets.evaluation import _onnx_agrees

    check = _onnx_agrees(runtime, 1e-5)
    assert (check.passed, check.severity.value) == (passed, "WARN")
    assert check.description == f"{runtime.name} serves: {runtime.reason}"
    found = {name: value.value for name, value in check.metadata.items()}
    assert tuple(map(found.get, ("rows", "differing", "largest_difference"))) == measured
    assert (found["runtime"], found["reason"]) == (runtime.name, runtime.reason)
    assert found["tolerance"] == 1e-5


FRAME, TARGET = table(nulls=True)
META = meta_of(FRAME, TARGET, BINARY)
MODEL = make_pipeline(
    prepared(imputed(), one_hot()), HistGradientBoostingClassifier(max_iter=10)
).fit(FRAME, TARGET)
GRAPH = convert(MODEL, META, FRAME).graph
cells = st.tuples(
    st.sampled_from(["basic", "gold", "silver", "", "none", "ünknown\N{SNOWMAN}"]),
    st.integers(0, 120),
    st.none() | st.floats(0, 100_000, width=32),
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(cells.map(list), min_size=1, max_size=5))
def test_rows_that_nobody_saw_are_answered_alike(rows: list[list[Any]]) -> None:
    assert GRAPH is not None
    ours = OnnxModel(META, GRAPH).answer(rows)
    theirs = SklearnModel(META, MODEL).answer(rows)
    assert ours.predictions == theirs.predictions
    assert ours.scores == pytest.approx(theirs.scores, abs=1e-5)
    assert np.allclose(ours.probabilities or [], theirs.probabilities or [], rtol=0, atol=1e-5)
