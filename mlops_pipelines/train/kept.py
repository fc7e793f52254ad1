"""Files that a version is given after it was registered, and the tags that hold their hashes.

What it has from the start is sealed by its facts; what is written later, and over again when it is
evaluated or published again, has a tag for each file.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_pipelines.train.registry import Registry

SHA256 = "mlops.sha256."
"""Tag of a version, followed by the name of one of its files: the SHA-256 of that file."""


def keep(registry: Registry, model: str, version: int, files: Mapping[str, bytes]) -> None:
    """Write the files (by name) to the MLflow version, over older ones.

    Raises NotFoundError, TrackingError.
    """
    from mlops_pipelines.train.run import Run
    from mlops_pipelines.train.tracking import connect

    uri = registry.tracking_uri
    run = Run(connect(uri), uri, model, registry.version(model, version).run_id, "")
    with tempfile.TemporaryDirectory(prefix="mlops-keep-") as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        run.log_artifact(Path(scratch))


def keep_hashed(registry: Registry, model: str, version: int, files: Mapping[str, bytes]) -> None:
    """`keep`, and a tag with the hash of each file, by which `mlops lineage --verify` knows it."""
    keep(registry, model, version, files)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    registry.tag(model, version, {f"{SHA256}{name}": digest for name, digest in hashes.items()})


def hashes_kept(tags: Mapping[str, str]) -> dict[str, str]:
    """The hashes that the tags of a version name, by file."""
    return {
        tag.removeprefix(SHA256): value for tag, value in tags.items() if tag.startswith(SHA256)
    }


def as_json(value: Any) -> bytes:
    """A JSON value as a file that people may read too."""
    return f"{json.dumps(value, indent=1, ensure_ascii=False)}\n".encode()
