"""Saves the fitted model as MLflow does, with the requirements that MLflow finds for it itself.

FILES holds model.joblib and rows.npy; the model goes to FOLDER.
"""

import sys
from pathlib import Path

import joblib
import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature


def save(files: Path, folder: Path) -> None:
    model, rows = joblib.load(files / "model.joblib"), np.load(files / "rows.npy")
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=infer_signature(rows, model.predict(rows)),
        serialization_format="cloudpickle",
    )


if __name__ == "__main__":
    save(*map(Path, sys.argv[1:]))
