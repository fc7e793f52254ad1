"""Two years of nights of one model, and two more: counted, judged and drawn with the others."""

import importlib
import sys
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
import pandas as pd
from clock import timed

from benchmarks.drift.data import write
from mlops_pipelines import record
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import Column, Profile, profile_like, reference_profile
from mlops_pipelines.measure.window import WindowProfile, to_json
from mlops_pipelines.monitor.night_drift import night_drift
from mlops_pipelines.monitor.predictions import day_key
from mlops_pipelines.monitor.profiles import profile_key, references_of, window_of
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.reference import REFERENCE
from mlops_pipelines.train.registry import Registry

MODEL, NIGHTS, ROWS = "churn", 730, 2000
LAST = date(2026, 1, 1)


def prepare(folder: Path) -> None:
    """Two years of nights, and the rows of two days after them."""
    folder.mkdir(parents=True)
    write(folder / "reference.parquet", 20_000, 25, 0)
    frame = pd.read_parquet(folder / "reference.parquet").drop(columns="model_version")
    columns = [
        Column(name, "numeric" if name.startswith("number") else "categorical") for name in frame
    ]
    profile = reference_profile(frame, columns)
    store, registry = _opened(folder)
    _register(registry, Reference.of(frame, profile), profile)
    for before in range(NIGHTS, 0, -1):
        _night(registry, store, frame, profile, LAST - timedelta(before))
    for number in range(2):
        write(folder / "day.parquet", ROWS, 25, 1 + number)
        rows = (folder / "day.parquet").read_bytes()
        store.write_bytes(day_key(MODEL, (LAST + timedelta(number)).isoformat()), rows)


def night(folder: Path, number: int) -> None:
    """The first night after the two years, or the second."""
    day = (LAST + timedelta(number)).isoformat()
    spec = ModelSpec.model_validate(
        {
            "name": MODEL,
            "task": "binary_classification",
            "data": {"source": {"csv": "churn.csv"}, "target": "churned"},
            "estimator": {"python": "sklearn.linear_model:LogisticRegression"},
        }
    )
    for needed in ("scipy.special", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store"):
        importlib.import_module(needed)
    with timed():
        store, registry = _opened(folder)
        window = window_of(store, spec, 1, day, references_of(registry, MODEL))
        assert window is not None
        found = night_drift(registry, store, spec, window)
        picture = found.heat_map.svg()
    assert picture.count("<text") > len(found.reference.columns)


def _opened(folder: Path) -> tuple[Store, Registry]:
    return (
        Store(str(folder / "store")),
        Registry(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts")),
    )


def _register(registry: Registry, reference: Reference, profile: Profile) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(registry.tracking_uri)
    with registry.training(MODEL, {}) as run:
        client.log_text(run.run_id, profile.to_json(), "profile.json")
    path = Path(client.tracking_uri.removeprefix("sqlite:///")).parent / REFERENCE
    path.write_bytes(reference.to_bytes())
    client.log_artifact(run.run_id, str(path))
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, f"runs:/{run.run_id}", run_id=run.run_id)


def _night(
    registry: Registry, store: Store, frame: pd.DataFrame, profile: Profile, day: date
) -> None:
    places = np.random.default_rng(day.toordinal()).integers(0, len(frame), ROWS)
    name = day.isoformat()
    window = WindowProfile(
        MODEL,
        1,
        name,
        (day + timedelta(1)).isoformat(),
        profile_like(frame.iloc[places], profile),
        {},
    )
    store.write_bytes(profile_key(MODEL, name), to_json([window]).encode())
    with registry.night(MODEL, name, 1) as night:
        night.log({"drift_columns": 0.0}, tags={record.VERDICTS["drift"]: "ok"})


if sys.argv[1] == "prepare":
    prepare(Path(sys.argv[2]))
else:
    night(Path(sys.argv[2]), int(sys.argv[3]))
