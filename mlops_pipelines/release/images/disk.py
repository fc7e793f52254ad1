"""Full disks of this machine, told in one line."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_pipelines.errors import TargetError


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the block alone; raises TargetError where its disk is full."""
    try:
        with tempfile.TemporaryDirectory(prefix="mlops-image-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise TargetError(full(Path(tempfile.gettempdir()), "TMPDIR names another")) from error


def full(where: Path, otherwise: str) -> str:
    """What to do about it."""
    return f"the disk of {where} is full: free some space and ask again ({otherwise})"
