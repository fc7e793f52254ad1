"""The nulls that were drawn for a version, kept in the store: a night draws none a second time."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mlops_pipelines.errors import NotFoundError, StoreError
from mlops_pipelines.store import Store

log = logging.getLogger(__name__)

MOST = 64
"""Of one version, about a megabyte each: windows of sizes within some 4 % share one."""


@dataclass(frozen=True)
class NullFiles:
    """See `measure.kept_nulls.Keep`. What cannot be kept is only drawn again."""

    store: Store
    model: str
    version: int

    @property
    def _folder(self) -> str:
        return f"nulls/{self.model}/{self.version}"

    def read(self, name: str) -> bytes | None:
        """The bytes kept under this name, if any; raises StoreError."""
        try:
            return self.store.read_bytes(f"{self._folder}/{name}.npz")
        except NotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Keep them, unless there are very many already or the store takes nothing."""
        try:
            if sum(1 for _ in self.store.keys(self._folder)) < MOST:
                self.store.write_bytes(f"{self._folder}/{name}.npz", content)
        except StoreError as error:
            log.warning("%s version %d: %s", self.model, self.version, error)
