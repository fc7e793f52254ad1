"""Saves the model as MLflow does: `signed` with the signature of its data frame, `bare` without."""

import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from session import FILES


def save() -> None:
    import mlflow.sklearn
    from mlflow.models import infer_signature

    model = joblib.load(FILES / "model.joblib")
    rows = np.load(FILES / "rows.npy")
    frame = pd.DataFrame(rows, columns=json.loads((FILES / "columns.json").read_text()))
    signatures = {"signed": infer_signature(frame, model.predict(rows)), "bare": None}
    for name, signature in signatures.items():
        if not Path(name).exists():
            mlflow.sklearn.save_model(
                model,
                name,
                signature=signature,
                pip_requirements=["mlflow", "scikit-learn"],
                serialization_format="cloudpickle",
            )


if __name__ == "__main__":
    save()
