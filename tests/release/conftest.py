"""Real versions in a real MLflow, their bundles, and a target that runs them."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column as ProfileColumn
from mlops_pipelines.measure.profile import reference_profile
from mlops_pipelines.record import provenance
from mlops_pipelines.release.bundle import build_bundle, bundle_of
from mlops_pipelines.release.targets.places import Places
from mlops_pipelines.release.targets.process import ProcessTarget
from mlops_pipelines.release.targets.processes import end, of_control_dir
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import Snapshot, SnapshotRows, freeze, read_rows

MODEL = "cancer"

PIPELINE = '''
import os

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Guarded(TransformerMixin, BaseEstimator):
    """Passes rows on, and fails while a certain file exists."""

    def __init__(self, file=""):
        self.file = file

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        if self.file and os.path.exists(self.file):
            raise RuntimeError("told to fail")
        return X


def build(file=""):
    return make_pipeline(Guarded(file), StandardScaler(), LogisticRegression())
'''

LOCK = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:00 \\
    --hash=sha256:01
    # via
    #   pandas
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:02
    # via pandas
requests==2.32.5 \\
    --hash=sha256:03
scikit_learn==1.9.1 \\
    --hash=sha256:04
"""


@dataclass(frozen=True)
class World:
    """A project with versions 1 (weak), 2 and 3 of one model, each with its bundle.

    Version 2 fails to answer while the file `fault` exists. `target` runs what is deployed, and
    its state lies under `home`.
    """

    root: Path
    home: Path
    registry: Registry
    store: Store
    spec: ModelSpec
    snapshot: Snapshot
    rows: SnapshotRows
    target: ProcessTarget
    fault: Path

    def bundle(self, version: int) -> Path:
        return build_bundle(self.registry, self.store, self.root, self.spec, version).folder


def cancer_spec(**changes: object) -> ModelSpec:
    said = {
        "name": MODEL,
        "task": "binary_classification",
        "data": {"source": {"python": "sklearn.datasets:load_breast_cancer"}, "target": "target"},
        "estimator": {
            "python": "sklearn.linear_model:LogisticRegression",
            "cross_validation": 0,
        },
        "gates": [
            {"metric": "roc_auc", "at_least": 0.95},
            {"metric": "log_loss", "at_most": 0.5},
            {"metric": "roc_auc", "within_champion": 0.01},
        ],
    }
    return ModelSpec.model_validate(said | changes)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelSpec, Snapshot]:
    """A project folder with its MLflow database, store and three versions."""
    from sklearn.datasets import load_breast_cancer

    root = tmp_path_factory.mktemp("project")
    folder = root / "assets" / MODEL
    folder.mkdir(parents=True)
    (folder / "pipeline.py").write_text(PIPELINE)
    (root / "requirements.lock").write_text(LOCK)
    spec = cancer_spec()
    store = Store(str(root / "store"))
    registry = Registry(f"sqlite:///{root}/mlflow.db", str(root / "artifacts"))
    frame = load_breast_cancer(as_frame=True).frame
    snapshot = freeze(frame, spec, store, "sklearn")
    rows = read_rows(store, snapshot)
    columns = [ProfileColumn(column.name, "numeric") for column in snapshot.columns]
    profile = reference_profile(rows.train, columns)
    behind = provenance(root)
    for python, params in (
        ("sklearn.tree:DecisionTreeClassifier", {"max_depth": 1}),
        ("pipeline:build", {"file": str(root / "fault")}),
        ("sklearn.ensemble:HistGradientBoostingClassifier", {"max_iter": 20}),
    ):
        with registry.training(MODEL, {}) as run:
            fitted = fit(
                spec, snapshot, rows.train, rows.holdout, root, folder, python=python, params=params
            )
            registry.log_version(run, fitted, snapshot, {}, Reference.alone(profile), behind, "")
    for version in (1, 2, 3):
        build_bundle(registry, store, root, spec, version)
    return root, spec, snapshot


@pytest.fixture
def world(template: tuple[Path, ModelSpec, Snapshot]) -> Iterator[World]:
    """A world of its own for one test."""
    with _world(*template) as made:
        yield made


@pytest.fixture(scope="module")
def shared(template: tuple[Path, ModelSpec, Snapshot]) -> Iterator[World]:
    """One world for all tests of a file, each of which says what it begins with."""
    with _world(*template) as made:
        yield made


@contextmanager
def _world(root: Path, spec: ModelSpec, snapshot: Snapshot) -> Iterator[World]:
    # pytest's own folders can be too long for a socket's path.
    home = Path(tempfile.mkdtemp(prefix="mlops-"))
    shutil.copyfile(root / "mlflow.db", home / "mlflow.db")
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(root / "artifacts"))
    port = free_port()
    target = ProcessTarget(home, "127.0.0.1", (port, min(port + 200, 65535)))
    store = Store(str(root / "store"))
    rows = read_rows(store, snapshot)
    fault = root / "fault"
    try:
        yield World(root, home, registry, store, spec, snapshot, rows, target, fault)
    finally:
        fault.unlink(missing_ok=True)
        end(of_control_dir(Places(home).control_dir(MODEL)), 2)
        shutil.rmtree(home)


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def broken(template: tuple[Path, ModelSpec, Snapshot], tmp_path: Path) -> Path:
    """A bundle of version 3, which ONNX Runtime serves, whose model file is half there."""
    folder = tmp_path / "broken"
    registry = Registry(f"sqlite:///{template[0]}/mlflow.db")
    shutil.copytree(bundle_of(registry, Store(str(template[0] / "store")), MODEL, 3), folder)
    model = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(model[: len(model) // 2])
    return folder
