"""What is written for one version: the model, and the files of its training run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.outputs import positive_last
from mlops_pipelines.train.pictures import pictures, png
from mlops_pipelines.train.quietly import quietly
from mlops_pipelines.train.run import Run
from mlops_pipelines.train.snapshot import Snapshot

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

    from mlops_pipelines.train.fit import Fitted

_PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "skops")


def log_model(
    client: MlflowClient, run: Run, fitted: Fitted, snapshot: Snapshot, tags: Mapping[str, str]
) -> tuple[str, str]:
    """Write the estimator as MLflow's sklearn flavour (skops, no pickle); its id and address."""
    with quietly():
        import mlflow.sklearn
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

    logged = client.create_logged_model(
        run.experiment_id,
        name="model",
        source_run_id=run.run_id,
        tags=dict(tags),
        params={name: str(value)[:6000] for name, value in fitted.params.items()},
        model_type=str(fitted.params["estimator"]),
    )
    try:
        with TemporaryDirectory() as folder, quietly():
            mlflow.sklearn.save_model(
                fitted.estimator,
                f"{folder}/model",
                mlflow_model=Model(run_id=run.run_id, model_id=logged.model_id),
                serialization_format="skops",
                signature=_signature(snapshot),
                pip_requirements=[f"{name}=={installed(name)}" for name in _PACKAGES],
                skops_trusted_types=list(fitted.trusted_types),
            )
            client.log_model_artifacts(logged.model_id, f"{folder}/model")
        client.finalize_logged_model(logged.model_id, "READY")
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, 0)])
    return logged.model_id, logged.artifact_location


def log_run(
    client: MlflowClient,
    run: Run,
    fitted: Fitted,
    snapshot: Snapshot,
    suite: Mapping[str, Any],
    reference: Reference,
    tags: Mapping[str, str],
    model_id: str,
) -> None:
    """Write metrics, parameters, tags, curves, the dataset and all files of the run."""
    run.log(_metrics(fitted), fitted.params, tags, fitted.curves, model_id)
    client.log_inputs(run.run_id, datasets=[_dataset(snapshot)])
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "profile.json").write_text(reference.profile.to_json(), encoding="utf-8")
        (folder / "reference.npz").write_bytes(reference.to_bytes())
        _json(folder / "suite.json", suite)
        _json(folder / "snapshot.json", snapshot.to_json())
        _json(folder / "golden.json", fitted.golden)
        _write_pictures(folder / "pictures", fitted, snapshot)
        _copy_code(fitted.folder, folder)
        run.log_artifact(folder)


def _metrics(fitted: Fitted) -> dict[str, float]:
    folds = fitted.cross_validation.items()
    return {
        **fitted.metrics,
        **{f"train_{name}": value for name, value in fitted.train_metrics.items()},
        **{f"cv_{name}_mean": mean for name, (mean, _) in folds},
        **{f"cv_{name}_std": deviation for name, (_, deviation) in folds},
        "system/training_seconds": fitted.seconds,
        "system/cpu_seconds": fitted.cpu_seconds,
        "system/peak_memory_mb": fitted.peak_memory_mb,
    }


def _signature(snapshot: Snapshot) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs = [
        ColSpec(DataType[column.type], column.name, required=not column.nullable)
        for column in snapshot.columns
    ]
    kinds = {bool: "boolean", int: "long", str: "string"}
    kind = "double" if snapshot.classes is None else kinds[type(snapshot.classes[0])]
    return ModelSignature(Schema(inputs), Schema([ColSpec(DataType[kind])]))  # type: ignore[arg-type]


def _dataset(snapshot: Snapshot) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    schema = [{"name": column.name, "type": column.type} for column in snapshot.columns]
    rows = {
        "rows": snapshot.rows,
        "train_rows": snapshot.train_rows,
        "holdout_rows": snapshot.holdout_rows,
        "snapshot": snapshot.digest,
    }
    dataset = Dataset(
        name=snapshot.model,
        # MLflow keeps 36 characters of it; the whole is in the profile, and a tag of the run.
        digest=snapshot.digest[:36],
        source_type="local",
        source=json.dumps({"uri": snapshot.key, "read_from": snapshot.source}),
        schema=json.dumps({"mlflow_colspec": schema}),
        profile=json.dumps(rows),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _write_pictures(folder: Path, fitted: Fitted, snapshot: Snapshot) -> None:
    classes = snapshot.classes
    if classes is not None and snapshot.positive is not None:
        classes = positive_last(classes, snapshot.positive)  # type: ignore[assignment]
    drawn = pictures(snapshot.task, fitted.truth, fitted.outputs, classes, fitted.curves)
    folder.mkdir()
    for name, figure in drawn.items():
        (folder / f"{name}.png").write_bytes(png(figure))


def _copy_code(source: Path, folder: Path) -> None:
    for path in sorted(source.glob("*.py")):
        (folder / "code").mkdir(exist_ok=True)
        shutil.copyfile(path, folder / "code" / path.name)
    for path in sorted(source.glob("defs.y*ml")):
        shutil.copyfile(path, folder / "declaration.yaml")


def _json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")
