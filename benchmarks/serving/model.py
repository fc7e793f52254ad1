"""The one model that all servers serve, trained and bundled by this project's own commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from array import array
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, say

NAME = "breast_cancer"
ON_SKLEARN = "breast_cancer_on_sklearn"
PROJECT_FILES = ("pyproject.toml", "workspace.yaml", "dagster.yaml", "requirements.lock")
MANY = 1000
DECLARATION = """\
type: mlops_pipelines.MonitoredModel

attributes:
  name: {name}
  task: binary_classification
  data:
    source: {{python: "sklearn.datasets:load_breast_cancer"}}
    target: target
  estimator:
    python: "sklearn.ensemble:HistGradientBoostingClassifier"
    params: {{random_state: 0}}
{more}"""
KEPT_ON_SKLEARN = "  release: {runtime: scikit-learn}\n"
ENVIRONMENT = """\
target:
  type: process
  host: 127.0.0.1
  ports: [18100, 18199]
"""


class BuildError(Exception):
    """The model could not be trained or released; `str()` says why, in one line."""


@dataclass(frozen=True)
class Model:
    """The bundles to serve, and what the peers get of the same model.

    `bundle` is as released, in `sklearn_bundle` the same model was kept on scikit-learn by its
    declaration. `files` holds model.joblib, columns.json, rows.npy and, where the release
    converted the model, model.onnx. `prediction` and `score` are what a server must answer to the
    first of `rows`.
    """

    bundle: Path
    sklearn_bundle: Path
    files: Path
    columns: list[str]
    rows: list[list[float]]
    prediction: int
    score: float

    def body(self, form: str, rows: int = 1) -> bytes:
        """A request of so many rows: `named` as MLflow's, `array`, or `v2` as MLServer's.

        `binary` is that of v2 with its tensor in bytes; see `header`.
        """
        values = (self.rows * (rows // len(self.rows) + 1))[:rows]
        if form == "named":
            return _json({"dataframe_split": {"columns": self.columns, "data": values}})
        if form == "array":
            return _json({"inputs": values})
        if form == "binary":
            return self._binary_head(rows) + array("d", chain.from_iterable(values)).tobytes()
        flat = [value for row in values for value in row]
        shape = [rows, len(self.columns)]
        tensor = {"name": "rows", "shape": shape, "datatype": "FP64", "data": flat}
        return _json({"inputs": [tensor], "outputs": [{"name": "predict_proba"}]})

    def header(self, form: str, rows: int = 1) -> tuple[str, ...]:
        """Name and value of the header that a body needs beside its content type, if any."""
        if form != "binary":
            return ()
        return ("inference-header-content-length", str(len(self._binary_head(rows))))

    def _binary_head(self, rows: int) -> bytes:
        shape = [rows, len(self.columns)]
        size = {"binary_data_size": 8 * shape[0] * shape[1]}
        tensor = {"name": "rows", "shape": shape, "datatype": "FP64", "parameters": size}
        return _json({"inputs": [tensor], "outputs": [{"name": "scores"}]})


def build(scratch: Path) -> Model:
    """Train, release and bundle in a project of its own in this folder. Raises BuildError."""
    root = scratch / "project"
    (root / "resources").mkdir(parents=True)
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, root / name)
    (root / "resources" / "local.yaml").write_text(ENVIRONMENT)
    bundles = []
    for name, more in ((NAME, ""), (ON_SKLEARN, KEPT_ON_SKLEARN)):
        say(f"Training and releasing {name} with `mlops train` and `mlops release` ...")
        (root / "assets" / name).mkdir(parents=True)
        (root / "assets" / name / "defs.yaml").write_text(DECLARATION.format(name=name, more=more))
        try:
            _mlops(root, "train", name)
            _mlops(root, "release", name)
        finally:
            _mlops(root, "stop", name, wanted=False)
        built = list((root / "home" / "store" / "bundles" / name).glob("*/bundle.json"))
        if len(built) != 1:
            raise BuildError(f"{name}: the release left {len(built)} bundles, expected one")
        bundles.append(built[0].parent)
    return _model(bundles[0], bundles[1], scratch / "files")


def _mlops(root: Path, *command: str, wanted: bool = True) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLOPS_")}
    done = subprocess.run(
        [sys.executable, "-c", "from mlops_pipelines.cli import main; main()", *command],
        cwd=root,
        env=kept
        | {
            "PYTHONPATH": str(ROOT),
            "MLOPS_PROJECT": str(root),
            "MLOPS_HOME": str(root / "home"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        },
        capture_output=True,
        text=True,
    )
    if done.returncode and wanted:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["nothing was said"]
        raise BuildError(f"mlops {' '.join(command)}: {said[-1]}")


def _model(bundle: Path, sklearn_bundle: Path, files: Path) -> Model:
    import joblib
    import numpy as np
    import skops.io

    said = json.loads((sklearn_bundle / "bundle.json").read_text())
    golden = json.loads((sklearn_bundle / "golden.json").read_text())
    files.mkdir()
    # The peers read no skops; it is the same fitted object.
    estimator = skops.io.load(sklearn_bundle / "model.skops", trusted=said["trusted_types"])
    rows = [[float(value) for value in row] for row in golden["rows"]]
    matrix = np.asarray(rows)
    if hasattr(estimator, "feature_names_in_"):
        # Its predictions stay; scikit-learn would warn of the missing names with each request.
        del estimator.feature_names_in_
    joblib.dump(estimator, files / "model.joblib")
    np.save(files / "rows.npy", matrix)
    columns = [column["name"] for column in said["columns"]]
    (files / "columns.json").write_text(json.dumps(columns))
    if (bundle / "model.onnx").exists():
        shutil.copyfile(bundle / "model.onnx", files / "model.onnx")
    return Model(
        bundle=bundle,
        sklearn_bundle=sklearn_bundle,
        files=files,
        columns=columns,
        rows=rows,
        prediction=int(estimator.predict(matrix[:1])[0]),
        score=float(estimator.predict_proba(matrix[:1])[0, 1]),
    )


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
