"""The train track of one model: `training_data` → `model`, and the external `model_version`."""

from collections.abc import Sequence

import dagster as dg

from mlops_pipelines.keys import asset_key, shared, versions_of
from mlops_pipelines.project import Declared
from mlops_pipelines.train.assets.model import model_asset
from mlops_pipelines.train.assets.training_data import training_data_asset


def train_assets(declared: Declared) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of the train track, and the external assets at its two ends."""
    spec = declared.spec
    request = dg.AssetSpec(
        asset_key(spec.name, "retraining_request"),
        description="Asked for by the rollback sensor, with its reason, when training is due.",
        kinds={"sensor"},
        **shared(spec),
    )
    version = dg.AssetSpec(
        asset_key(spec.name, "model_version"),
        description="A registered version; training reports it, and it is the partition.",
        deps=[asset_key(spec.name, "model")],
        partitions_def=versions_of(spec.name),
        kinds={"mlflow"},
        **shared(spec),
    )
    return [request, training_data_asset(declared), model_asset(declared), version]
