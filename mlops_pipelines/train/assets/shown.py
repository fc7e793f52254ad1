"""How assets of every track show figures, and lead to the MLflow UI."""

import os
from collections.abc import Mapping

import dagster as dg

from mlops_pipelines.environment import shown_uri
from mlops_pipelines.resources import MlflowResource


def figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """As the Dagster UI shows them: six significant digits. MLflow keeps them all."""
    return {name: float(f"{number:.6g}") for name, number in metrics.items()}


def mlflow_link(mlflow: MlflowResource, text: str, page: str) -> dg.MetadataValue:
    """`text` that opens `page` of the MLflow UI: the server's, or what `mlops ui` opens."""
    uri = mlflow.tracking_uri
    if not uri.startswith("http"):
        uri = os.environ.get("MLOPS_MLFLOW_UI", "http://127.0.0.1:5000")
    # MLflow would open its pages for language models.
    where = f"{shown_uri(uri).rstrip('/')}/#/{page}?workflowType=machine_learning"
    return dg.MetadataValue.md(f"[{text}]({where})")
