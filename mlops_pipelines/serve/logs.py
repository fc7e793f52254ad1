"""What one worker writes, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines.serve.bundle import Bundle
from mlops_pipelines.serve.log import SegmentWriter
from mlops_pipelines.serve.segment_file import sweep
from mlops_pipelines.serve.segments import SCHEMA

ROOM_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Logs:
    """Where a worker writes: answered rows, labels, and requests that the model failed on.

    `folder` is shared by all workers of the model.
    """

    folder: Path
    predictions: SegmentWriter
    labels: SegmentWriter
    errors: SegmentWriter

    @classmethod
    def open(cls, folder: Path, meta: Bundle, instance: str, fsync: bool) -> Logs:
        """The logs of a worker that serves this bundle."""
        sweep(folder)
        stem = f"{meta.model}-v{meta.version}"
        header = {
            "schema": SCHEMA,
            "model": meta.model,
            "model_version": meta.version,
            "bundle": meta.digest,
            "instance": instance,
        }
        columns = {"columns": meta.names}
        return cls(
            folder,
            SegmentWriter(
                folder, stem, header | {"kind": "predictions"} | columns, fsync, room=ROOM_BYTES
            ),
            SegmentWriter(folder, f"labels-{stem}", header | {"kind": "labels"}, fsync),
            SegmentWriter(folder, f"errors-{stem}", header | {"kind": "errors"} | columns, fsync),
        )

    @property
    def bytes_written(self) -> int:
        """To all of them."""
        return sum(log.bytes_written for log in (self.predictions, self.labels, self.errors))

    @property
    def syncs(self) -> int:
        """How often rows were put on the disk; each time those of many requests together."""
        return sum(log.syncs for log in (self.predictions, self.labels, self.errors))

    def close(self) -> None:
        """Once everything is on the disk."""
        for log in (self.predictions, self.labels, self.errors):
            log.close()
