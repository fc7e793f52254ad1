"""An environment of its own: MLflow, a store, a network with its gateway, and models in it."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.release.engine import Engine
from mlops_pipelines import environment
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column, Profile, reference_profile
from mlops_pipelines.record import provenance
from mlops_pipelines.release.bundle import build_bundle, bundle_of
from mlops_pipelines.release.images.of_version import image_of_version
from mlops_pipelines.release.images.version_image import VersionImage
from mlops_pipelines.release.targets.docker.target import DockerTarget
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.fit import Fitted, fit
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import Snapshot, SnapshotRows, freeze, read_rows

BOOSTED = ("sklearn.ensemble:HistGradientBoostingClassifier", {"random_state": 0})
"""The model of `bench-serving`; ONNX Runtime serves it."""
GUARDED = ("pipeline:build", {"file": "/log/fail"})
"""It answers 500 while that file exists, which lies in its container's log folder."""
PIPELINE = """
import os

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Guarded(TransformerMixin, BaseEstimator):
    def __init__(self, file=""):
        self.file = file

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        if os.path.exists(self.file):
            raise RuntimeError("told to fail")
        return X


def build(file=""):
    return make_pipeline(Guarded(file), StandardScaler(), LogisticRegression())
"""

Books = tuple[Registry, Store, DockerTarget, ModelSpec]


class World:
    """One environment on the engine; everything it keeps lies under `root`."""

    def __init__(self, engine: Engine, root: Path) -> None:
        self.engine = engine
        self.root = root
        self.home = root / "home"
        self.home.mkdir(parents=True)
        # Containers of another user look for their log folder below.
        for folder in (root, self.home):
            folder.chmod(0o755)
        wheelhouse = ROOT / ".mlops" / "wheelhouse"
        wheelhouse.mkdir(parents=True, exist_ok=True)
        (self.home / "wheelhouse").symlink_to(wheelhouse)
        shutil.copyfile(ROOT / "requirements.lock", root / "requirements.lock")
        self.registry = Registry(f"sqlite:///{root}/mlflow.db", str(root / "artifacts"))
        self.store = Store(str(root / "store"))
        network = f"mlops-bench-{engine.run[:8]}"
        engine.networks.append(network)
        self.settings = environment.DockerTarget(
            type="docker",
            base_image=engine.fresh_base(),
            network=network,
            gateway=environment.Gateway(
                image=engine.gateway, port=_free_port(), stats_port=_free_port()
            ),
        )
        self.target = DockerTarget(self.home, self.settings, {}, ROOT / ".mlops" / "wheelhouse")


@dataclass
class Model:
    """A model of a world; `release` is what its declaration says of releases."""

    world: World
    name: str
    release: dict[str, Any]

    @cached_property
    def spec(self) -> ModelSpec:
        """As it would stand in defs.yaml."""
        return ModelSpec.model_validate(
            {
                "name": self.name,
                "task": "binary_classification",
                "data": {
                    "source": {"python": "sklearn.datasets:load_breast_cancer"},
                    "target": "target",
                },
                "estimator": {"python": BOOSTED[0], "cross_validation": 0},
                "gates": [
                    {"metric": "roc_auc", "at_least": 0.9},
                    {"metric": "roc_auc", "within_champion": 0.1},
                ],
                "release": self.release,
            }
        )

    @property
    def books(self) -> Books:
        """What a release is told of."""
        return self.world.registry, self.world.store, self.world.target, self.spec

    @cached_property
    def data(self) -> tuple[Snapshot, SnapshotRows, Profile]:
        """Its frozen training data."""
        from sklearn.datasets import load_breast_cancer

        store = self.world.store
        folder = self.world.root / "assets" / self.name
        folder.mkdir(parents=True)
        (folder / "pipeline.py").write_text(PIPELINE)
        snapshot = freeze(load_breast_cancer(as_frame=True).frame, self.spec, store, "sklearn")
        rows = read_rows(store, snapshot)
        columns = [Column(column.name, "numeric") for column in snapshot.columns]
        return snapshot, rows, reference_profile(rows.train, columns)

    def fitted(self, python: str, params: dict[str, Any]) -> Fitted:
        """Fit this estimator."""
        snapshot, rows, _ = self.data
        root = self.world.root
        folder = root / "assets" / self.name
        return fit(
            self.spec,
            snapshot,
            rows.train,
            rows.holdout,
            root,
            folder,
            python=python,
            params=params,
        )

    def register(self, python: str = BOOSTED[0], params: dict[str, Any] = BOOSTED[1]) -> int:
        """Train a version, and register it: nothing else is done for it yet."""
        snapshot, _, profile = self.data
        registry = self.world.registry
        with registry.training(self.name, {}) as run:
            fitted = self.fitted(python, params)
            behind = provenance(self.world.root)
            return registry.log_version(
                run, fitted, snapshot, {}, Reference.alone(profile), behind, ""
            )

    def image(self, version: int) -> VersionImage:
        """The version's image; its bundle is built where it has none."""
        world = self.world
        build_bundle(world.registry, world.store, world.root, self.spec, version)
        return image_of_version(
            world.engine.client,
            world.registry,
            world.settings,
            world.home,
            self.bundle(version),
            self.name,
            version,
        )

    def bundle(self, version: int) -> Path:
        """The folder of a version's bundle."""
        return bundle_of(self.world.registry, self.world.store, self.name, version)

    def request(self, version: int) -> bytes:
        """A request of one row, that every version of the model answers."""
        bundle = self.bundle(version)
        about = json.loads((bundle / "bundle.json").read_text())
        row = json.loads((bundle / "golden.json").read_text())["rows"][0]
        names = [column["name"] for column in about["columns"]]
        return json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
