"""Files that MLflow keeps, as paths of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import unquote, urlparse

from mlops_pipelines.errors import NotFoundError


def is_local(base: str) -> bool:
    """Whether the artifact address `base` is a folder of this machine."""
    return urlparse(base).scheme in ("", "file")


def local_path(base: str, rest: str, missing: str) -> Path:
    """`rest` below the local address `base`; raises NotFoundError with the text `missing`."""
    path = Path(unquote(urlparse(base).path)) / rest
    if not path.exists():
        raise NotFoundError(missing)
    return path


def download(base: str, rest: str, kept: Path, tracking_uri: str, missing: str) -> Path:
    """Fetch `rest` below the address `base` to `kept`, unless it is there already.

    Raises NotFoundError with the text `missing` where there is no such file.
    """
    if kept.exists():
        return kept
    from mlflow.artifacts import download_artifacts

    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = mkdtemp(dir=kept.parent, suffix=".partial")
    address = f"{base.rstrip('/')}/{rest}".rstrip("/")
    try:
        found = download_artifacts(
            artifact_uri=address, dst_path=partial, tracking_uri=tracking_uri
        )
    except Exception as error:
        if isinstance(error, FileNotFoundError) or any(
            sign in str(error) for sign in ("404", "NoSuchKey", "No such artifact")
        ):
            raise NotFoundError(missing) from error
        raise
    os.replace(found, kept)
    return kept
