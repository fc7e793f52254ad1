"""Real bundles, as the release writes them, and real worker processes that serve them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

import mlops_pipelines
from mlops_pipelines.serve.control import WorkerInfo, workers

FRAGILE = '''
from sklearn.base import BaseEstimator, TransformerMixin

class Fragile(TransformerMixin, BaseEstimator):
    """Passes rows on, and raises on a negative amount."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        if (X["amount"] < 0).any():
            raise ValueError("cannot take " + str(list(X["amount"])))
        return X[["amount"]].to_numpy()
'''


def write_bundle(
    folder: Path,
    estimator: Any,
    frame: pd.DataFrame,
    columns: list[dict[str, Any]],
    *,
    model: str,
    version: int = 1,
    task: str = "binary_classification",
    trusted: list[str] | None = None,
    assets: dict[str, str] | None = None,
) -> Path:
    """A bundle of a fitted estimator; `frame` holds its golden rows."""
    import skops.io

    folder.mkdir(parents=True)
    skops.io.dump(estimator, folder / "model.skops")
    predictions = estimator.predict(frame)
    classes = None if task == "regression" else estimator.classes_.tolist()
    scores: Any = None
    if task == "regression":
        scores = predictions.tolist()
    elif hasattr(estimator, "predict_proba"):
        probabilities = estimator.predict_proba(frame)
        binary = task == "binary_classification"
        scores = (probabilities[:, 1] if binary else probabilities.max(axis=1)).tolist()
    rows = [
        [None if pd.isna(value) else value for value in row]
        for row in frame.astype(object).to_numpy().tolist()
    ]
    golden = {"rows": rows, "predictions": predictions.tolist(), "scores": scores}
    said = {
        "schema": 1,
        "model": model,
        "version": version,
        "task": task,
        "columns": columns,
        "target": "target",
        "classes": classes,
        "positive": classes[1] if task == "binary_classification" and classes else None,
        "trusted_types": trusted or [],
        "run_id": "run",
        "snapshot": "snapshot",
    }
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "bundle.json").write_text(json.dumps(said))
    package = Path(mlops_pipelines.__file__).parent
    code = folder / "code" / "mlops_pipelines"
    (code / "serve").mkdir(parents=True)
    shutil.copy(package / "__init__.py", code)
    for file in (package / "serve").glob("*.py"):
        shutil.copy(file, code / "serve")
    for name, text in (assets or {}).items():
        path = folder / "code" / "assets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_manifest(folder)
    return folder


def as_onnx(bundle: Path, folder: Path, holdout: pd.DataFrame | None = None) -> Path:
    """The same model, served by ONNX Runtime; compared on `holdout`, or on its golden rows."""
    import skops.io

    from mlops_pipelines.release.convert import convert
    from mlops_pipelines.serve.bundle import read_bundle

    meta = read_bundle(bundle)
    shutil.copytree(bundle, folder)
    estimator = skops.io.load(folder / "model.skops", trusted=list(meta.trusted_types))
    if holdout is None:
        golden = json.loads((folder / "golden.json").read_text())
        holdout = pd.DataFrame(golden["rows"], columns=list(meta.names))
    conversion = convert(estimator, meta, holdout)
    assert conversion.graph is not None, conversion.runtime.reason
    (folder / "model.skops").unlink()
    (folder / "model.onnx").write_bytes(conversion.graph)
    said = json.loads((folder / "bundle.json").read_text())
    said |= {"schema": 2, "trusted_types": [], "runtime": asdict(conversion.runtime)}
    (folder / "bundle.json").write_text(json.dumps(said))
    write_manifest(folder)
    return folder


def write_manifest(folder: Path) -> None:
    """List every file of the bundle with its hash."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and "__pycache__" not in path.parts
    }
    listed = json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"files": files, "digest": digest}))


def doubles(names: Any) -> list[dict[str, Any]]:
    return [{"name": name, "type": "double", "nullable": False} for name in names]


@dataclass(frozen=True)
class Bundles:
    """The bundles of this test run, and the rows to ask them about."""

    cancer: Path
    cancer_v2: Path
    mixed: Path
    diabetes: Path
    wine: Path
    fragile: Path
    cancer_rows: pd.DataFrame = field(repr=False)
    mixed_rows: pd.DataFrame = field(repr=False)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    from sklearn.compose import make_column_transformer
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    root = tmp_path_factory.mktemp("bundles")
    cancer, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    cancer = cancer.astype(float)
    trees = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(cancer, benign)
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(cancer, benign)

    rng = np.random.default_rng(0)
    n = 200
    mixed = pd.DataFrame(
        {
            "plan": pd.array(rng.choice(["basic", "gold", "silver"], n), dtype="str"),
            "age": rng.integers(18, 90, n),
            "income": rng.normal(50_000.0, 9_000.0, n),
            "member": rng.random(n) < 0.5,
        }
    )
    mixed.loc[::7, "plan"] = None
    mixed.loc[::5, "income"] = np.nan
    churned = np.where((mixed["age"] > 50) ^ (mixed["plan"] == "gold"), "yes", "no")
    transformer = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]),
        (SimpleImputer(), ["age", "income"]),
        ("passthrough", ["member"]),
    )
    forest = RandomForestClassifier(5, random_state=0)
    pipeline = make_pipeline(transformer, forest).fit(mixed, churned)
    mixed_columns = [
        {"name": "plan", "type": "string", "nullable": True},
        {"name": "age", "type": "long", "nullable": False},
        {"name": "income", "type": "double", "nullable": True},
        {"name": "member", "type": "boolean", "nullable": False},
    ]

    diabetes, progression = load_diabetes(return_X_y=True, as_frame=True)
    wine, cultivar = load_wine(return_X_y=True, as_frame=True)

    amounts = pd.DataFrame({"amount": rng.random(50)})
    user_code = root / "user" / "fragile_assets"
    user_code.mkdir(parents=True)
    # The transformer must be pickled by the name that it has inside the bundle.
    (user_code / "pipeline.py").write_text(FRAGILE)
    fragile_model = _fit_fragile(user_code / "pipeline.py", amounts)

    return Bundles(
        cancer=write_bundle(
            root / "cancer",
            trees,
            cancer[:40],
            doubles(cancer),
            model="cancer",
            trusted=["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
        ),
        cancer_v2=write_bundle(
            root / "cancer_v2", linear, cancer[:40], doubles(cancer), model="cancer", version=2
        ),
        mixed=write_bundle(
            root / "mixed",
            pipeline,
            mixed[:40],
            mixed_columns,
            model="mixed",
            trusted=["numpy.dtype", "sklearn.tree._tree.Tree"],
        ),
        diabetes=write_bundle(
            root / "diabetes",
            Ridge().fit(diabetes, progression),
            diabetes[:40],
            doubles(diabetes),
            model="diabetes",
            task="regression",
        ),
        wine=write_bundle(
            root / "wine",
            make_pipeline(StandardScaler(), LogisticRegression()).fit(wine, cultivar),
            wine[::5],
            doubles(wine),
            model="wine",
            task="multiclass_classification",
        ),
        fragile=write_bundle(
            root / "fragile",
            fragile_model,
            amounts[:10],
            doubles(["amount"]),
            model="fragile",
            trusted=["assets.fragile.pipeline.Fragile"],
            assets={"fragile/pipeline.py": FRAGILE},
        ),
        cancer_rows=cancer[40:],
        mixed_rows=mixed[40:],
    )


@pytest.fixture(scope="session")
def onnx_bundles(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Those bundles that ONNX Runtime can serve, by the names they have in `bundles`."""
    root = tmp_path_factory.mktemp("onnx")
    names = ("cancer", "cancer_v2", "diabetes", "wine")
    return {name: as_onnx(getattr(bundles, name), root / name) for name in names}


def _fit_fragile(source: Path, amounts: pd.DataFrame) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    name = "assets.fragile.pipeline"
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    packages = ["assets", "assets.fragile"]
    for package in packages:
        sys.modules[package] = type(sys)(package)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        model = make_pipeline(module.Fragile(), LogisticRegression())
        model.fit(amounts, amounts["amount"] > 0.5)
        import skops.io

        skops.io.dumps(model)
    finally:
        for loaded in [*packages, name]:
            del sys.modules[loaded]
    return model


@dataclass
class Service:
    """A listening socket, the folders of its workers, and the workers that were started."""

    root: Path
    listener: socket.socket
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def log_dir(self) -> Path:
        return self.root / "log"

    @property
    def control_dir(self) -> Path:
        return self.root / "ctl"

    @property
    def stderr(self) -> str:
        return (self.root / "stderr").read_text()

    def start(
        self, bundle: Path, *options: str, listener: socket.socket | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker; it is there once `wait_for` sees it."""
        fd = (listener or self.listener).fileno()
        with (self.root / "stderr").open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mlops_pipelines.serve", "--bundle", str(bundle)]
                + ["--log-dir", str(self.log_dir), "--control-dir", str(self.control_dir)]
                + ["--listen-fd", str(fd), *options],
                env=bundle_environment(bundle),
                stderr=stderr,
                pass_fds=[fd],
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def wait_for(self, *processes: subprocess.Popen[bytes], state: str) -> list[WorkerInfo]:
        """The workers of these processes, once all are in this state."""

        def found() -> list[WorkerInfo]:
            assert all(process.poll() is None for process in processes), self.stderr
            pids = [process.pid for process in processes]
            known = {w.pid: w for w in workers(self.control_dir) if w.state == state}
            return [known[pid] for pid in pids] if set(pids) <= known.keys() else []

        return eventually(found)

    def private(self, worker: WorkerInfo) -> httpx.Client:
        """A client of one worker's private socket."""
        transport = httpx.HTTPTransport(uds=str(worker.http))
        return httpx.Client(transport=transport, base_url="http://worker", timeout=30)


def bundle_environment(bundle: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(bundle / "code"), "PYTHONDONTWRITEBYTECODE": "1"}


def eventually(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return value


def _service() -> Iterator[Service]:
    # pytest's own folders can be too long for a socket's path.
    root = Path(tempfile.mkdtemp(prefix="serve-"))
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    service = Service(root, listener)
    try:
        yield service
    finally:
        listener.close()
        for process in service.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        shutil.rmtree(root)


@pytest.fixture
def service() -> Iterator[Service]:
    yield from _service()


@pytest.fixture(scope="module")
def module_service() -> Iterator[Service]:
    yield from _service()


@dataclass(frozen=True)
class Writers:
    """What writes a bundle, for tests that need one of their own."""

    bundle: Callable[..., Path] = write_bundle
    manifest: Callable[[Path], None] = write_manifest
    as_onnx: Callable[..., Path] = as_onnx
    doubles: Callable[[Any], list[dict[str, Any]]] = doubles
    environment: Callable[[Path], dict[str, str]] = bundle_environment
    eventually: Callable[..., Any] = eventually


@pytest.fixture(scope="session")
def writers() -> Writers:
    return Writers()
