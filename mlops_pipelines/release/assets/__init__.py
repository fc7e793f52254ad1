"""The release track of one version: `evaluation` → `security_report` → `image` → `deployment`."""

from collections.abc import Sequence

import dagster as dg

from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.deployment import deployment_asset
from mlops_pipelines.release.assets.evaluation import evaluation_asset
from mlops_pipelines.release.assets.image import image_asset
from mlops_pipelines.release.assets.security_report import security_report_asset


def release_assets(declared: Declared) -> Sequence[dg.AssetsDefinition]:
    """The assets of the release track; each partition is one model version."""
    return [
        evaluation_asset(declared),
        security_report_asset(declared),
        image_asset(declared),
        deployment_asset(declared),
    ]
