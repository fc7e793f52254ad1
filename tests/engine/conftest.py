"""A real Docker engine, a base image made without a registry, and real bundles to run on it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlops_pipelines import record
from mlops_pipelines.errors import TargetError
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column as ProfileColumn
from mlops_pipelines.measure.profile import reference_profile
from mlops_pipelines.record import provenance
from mlops_pipelines.release.bundle import build_bundle
from mlops_pipelines.release.images.engine import connect
from mlops_pipelines.release.images.version_image import VersionImage, build_version_image
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import Snapshot, freeze, read_rows
from tests.conftest import ROOT, require
from tests.release.conftest import MODEL, cancer_spec

if TYPE_CHECKING:
    import docker

BASE_IMAGE = "mlops/base:debian"
"""Kept between runs: making it takes a minute. `docker/base.sh` makes the same."""
WHEELHOUSE = ROOT / ".mlops" / "wheelhouse"
"""Kept as well, as it is in a project."""

ESTIMATORS = (
    ("sklearn.linear_model:LogisticRegression", {"max_iter": 5000}, "onnxruntime"),
    ("sklearn.ensemble:HistGradientBoostingClassifier", {"max_iter": 20}, "onnxruntime"),
    ("sklearn.ensemble:HistGradientBoostingClassifier", {"max_iter": 10}, "scikit-learn"),
)


@dataclass(frozen=True)
class Bundles:
    """Versions 1, 2 (both ONNX Runtime) and 3 (scikit-learn) of one model, and their books."""

    root: Path
    spec: ModelSpec
    registry: Registry
    store: Store
    snapshot: Snapshot

    def folder(self, version: int) -> Path:
        spec = self._spec(version)
        return build_bundle(self.registry, self.store, self.root, spec, version).folder

    def _spec(self, version: int) -> ModelSpec:
        return runtime_spec(ESTIMATORS[version - 1][2])


def runtime_spec(runtime: str) -> ModelSpec:
    return cancer_spec(release={"runtime": "auto" if runtime == "onnxruntime" else runtime})


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine."""
    try:
        client = connect()
    except TargetError as error:
        require("docker", str(error))
    yield client
    client.close()


@pytest.fixture(scope="session")
def base(engine: docker.DockerClient) -> str:
    """The tag of a base image with Python; BASE_IMAGE may name another."""
    named = os.environ.get("BASE_IMAGE")
    if named:
        return named
    # Where it is there, base.sh does nothing; of two that make it, one's would have no name.
    with alone_on_this_machine("base"):
        made = subprocess.run(
            [ROOT / "docker" / "base.sh", BASE_IMAGE], capture_output=True, text=True, check=False
        )
    if made.returncode != 0:
        require("docker", f"no base image: {made.stderr.strip()}")
    return BASE_IMAGE


@contextmanager
def alone_on_this_machine(what: str) -> Iterator[None]:
    """Other clones' tests use the same engine, and may want to make the same image now."""
    with (Path(tempfile.gettempdir()) / f"mlops-tests-{os.getuid()}-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def images_of_store(engine: docker.DockerClient, model: str, store: Path) -> list[str]:
    """The ids of the images of bundles in the folder `store`: those that a test has made."""
    bundles = store / "bundles" / model
    made = {folder.name for folder in bundles.iterdir()} if bundles.is_dir() else set()
    found = engine.images.list(filters={"label": record.BUNDLE})
    return [str(one.id) for one in found if one.labels[record.BUNDLE][:16] in made]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Three versions of one model with the project's own lock file, each with its bundle."""
    from sklearn.datasets import load_breast_cancer

    root = tmp_path_factory.mktemp("engine")
    folder = root / "assets" / MODEL
    folder.mkdir(parents=True)
    (root / "requirements.lock").write_bytes((ROOT / "requirements.lock").read_bytes())
    store = Store(str(root / "store"))
    registry = Registry(f"sqlite:///{root}/mlflow.db", str(root / "artifacts"))
    spec = cancer_spec()
    snapshot = freeze(load_breast_cancer(as_frame=True).frame, spec, store, "sklearn")
    rows = read_rows(store, snapshot)
    columns = [ProfileColumn(column.name, "numeric") for column in snapshot.columns]
    profile = reference_profile(rows.train, columns)
    behind = provenance(root)
    for python, params, _ in ESTIMATORS:
        with registry.training(MODEL, {}) as run:
            fitted = fit(
                spec, snapshot, rows.train, rows.holdout, root, folder, python=python, params=params
            )
            registry.log_version(run, fitted, snapshot, {}, Reference.alone(profile), behind, "")
    made = Bundles(root, spec, registry, store, snapshot)
    for version in (1, 2, 3):
        made.folder(version)
    return made


@pytest.fixture(scope="session")
def images(
    engine: docker.DockerClient, base: str, bundles: Bundles
) -> Iterator[dict[int, VersionImage]]:
    """By version, its image; the runtime images below them are kept, as the base is."""
    made = {
        version: build_version_image(engine, bundles.folder(version), base, WHEELHOUSE, {})
        for version in (1, 2, 3)
    }
    yield made
    for image in made.values():
        remove_image(engine, image.id)


def remove_image(engine: docker.DockerClient, image: str) -> None:
    """An image that is gone already, with one that stood on it, is no failure."""
    import docker

    with suppress(docker.errors.ImageNotFound):
        engine.images.remove(image, force=True)
