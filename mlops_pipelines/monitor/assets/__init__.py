"""The monitor track of one model, a day at a time: what was answered, and how it turned out."""

from collections.abc import Sequence

import dagster as dg

from mlops_pipelines.keys import asset_key, days_of, shared
from mlops_pipelines.monitor.assets.drift_report import drift_report_asset
from mlops_pipelines.monitor.assets.labels import labels_asset
from mlops_pipelines.monitor.assets.performance import performance_asset
from mlops_pipelines.monitor.assets.predictions import predictions_asset
from mlops_pipelines.monitor.assets.service_health import service_health_asset
from mlops_pipelines.project import Declared


def monitor_assets(declared: Declared) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of the monitor track; each partition is one day (UTC)."""
    log = dg.AssetSpec(
        asset_key(declared.spec.name, "prediction_log"),
        description="Every answered request; the servers write it.",
        deps=[asset_key(declared.spec.name, "deployment")],
        partitions_def=days_of(declared.spec),
        kinds={"json"},
        **shared(declared.spec),
    )
    return [
        log,
        predictions_asset(declared),
        labels_asset(declared),
        drift_report_asset(declared),
        performance_asset(declared),
        service_health_asset(declared),
    ]
