"""What of a version's record its image carries as labels, under the same names."""

from __future__ import annotations

from collections.abc import Mapping

from mlops_pipelines import record
from mlops_pipelines.train.facts import RECORD, TAGS

LINEAGE = (*TAGS, RECORD, record.BUNDLE, record.BOM)
"""The tags that stay as they are once the image is built."""


def lineage_labels(tags: Mapping[str, str]) -> dict[str, str]:
    """The labels of a version whose MLflow tags are `tags`."""
    return {name: tags[name] for name in LINEAGE if name in tags}
