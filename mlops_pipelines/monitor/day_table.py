"""The answered rows of one day, where they lie: the store's Parquet, or a table of a warehouse."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_pipelines.errors import StoreError
from mlops_pipelines.measure.profile import Profile
from mlops_pipelines.measure.window import Segments
from mlops_pipelines.monitor.counting import VERSION, count_table
from mlops_pipelines.monitor.parquet_counts import answered, count_parquet
from mlops_pipelines.monitor.predictions import day_key
from mlops_pipelines.store import Store

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from ibis.backends import BaseBackend
    from pyarrow.fs import FileSystem

Bins = Callable[[int], tuple[Profile, Mapping[str, Sequence[str]]] | None]
"""The reference of a version, and the values that are told apart of its segment columns."""

Counted = dict[int, tuple[Profile, Segments]]


class DayTable(Protocol):
    """The rows of one day."""

    def stamp(self) -> dict[str, Any] | None:
        """What changes whenever the rows do; None where there are none."""

    def count(self, bins: Bins) -> Counted:
        """The rows of each version that answered and has bins, whole and by segment."""


@dataclass(frozen=True)
class ParquetDay:
    """A day of the store, counted on `threads` cores (all, where that is None).

    Raises StoreError where the day cannot be read.
    """

    store: Store
    model: str
    day: str
    threads: int | None = None

    def stamp(self) -> dict[str, Any] | None:
        """Size and time of the file."""
        from pyarrow.fs import FileType

        filesystem, path = self._place
        with self._reading():
            found = filesystem.get_file_info(path)
        if found.type != FileType.File:
            return None
        return {"bytes": found.size, "changed": found.mtime_ns}

    def count(self, bins: Bins) -> Counted:
        """See `parquet_counts.count_parquet`."""
        with self._reading(), self._file() as path:
            asked = {version: bins(version) for version in answered(path)}
            known = {version: each for version, each in asked.items() if each is not None}
            return count_parquet(path, known, self.threads)

    @property
    def _place(self) -> tuple[FileSystem, str]:
        from pyarrow.fs import FileSystem, LocalFileSystem

        key = day_key(self.model, self.day)
        if "://" not in self.store.root or self.store.root.startswith("file://"):
            return LocalFileSystem(), self.store.uri(key)
        filesystem, base = FileSystem.from_uri(self.store.root)
        return filesystem, f"{base}/{key}"

    @contextmanager
    def _file(self) -> Iterator[str]:
        """The day's file on this machine; from an object store it is copied for the while."""
        local = self.store.uri(day_key(self.model, self.day))
        if os.path.isfile(local):
            yield local
            return
        filesystem, path = self._place
        with tempfile.TemporaryDirectory(prefix="mlops-day-") as folder:
            copy = Path(folder) / "rows.parquet"
            with filesystem.open_input_stream(path) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            yield str(copy)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:
            key = day_key(self.model, self.day)
            reason = str(error).splitlines()[0].replace(self.store.root, self.store.shown)
            raise StoreError(
                f"store {self.store.shown} cannot be read at {key}: {reason}"
            ) from error


@dataclass(frozen=True)
class WarehouseDay:
    """A day of the table `predictions_<model>` of a warehouse; the warehouse counts.

    The table has the columns of `predictions.SCHEMA` and the features, a row for each answer;
    `predicted_at` is in UTC. Raises StoreError where the warehouse does not answer.
    """

    connection: BaseBackend
    model: str
    day: str

    def stamp(self) -> dict[str, Any] | None:
        """How many rows there are, and when the last of them was logged."""
        with self._asking():
            rows = self._rows()
            found = rows.aggregate(n=rows.count(), last=rows.logged_at.max()).to_pyarrow()
        (n,), (last,) = found["n"].to_pylist(), found["last"].to_pylist()
        return {"rows": n, "last": str(last)} if n else None

    def count(self, bins: Bins) -> Counted:
        """See `counting.count_table`."""
        with self._asking():
            rows = self._rows()
            found = rows.select(VERSION).distinct().to_pyarrow()[VERSION].to_pylist()
        wanted = {version: bins(version) for version in sorted(map(int, found))}
        with self._asking():
            return {
                version: count_table(rows, version, *asked)
                for version, asked in wanted.items()
                if asked is not None
            }

    def _rows(self) -> ir.Table:
        import ibis

        table = self.connection.table(f"predictions_{self.model}")
        start = datetime.fromisoformat(self.day).replace(tzinfo=UTC)
        if getattr(table.predicted_at.type(), "timezone", None) is None:
            start = start.replace(tzinfo=None)
        first, last = (ibis.timestamp(at) for at in (start, start + timedelta(days=1)))
        return table.filter(table.predicted_at >= first, table.predicted_at < last)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each engine has errors of its own
            what = type(error).__name__
            raise StoreError(
                f"{self.connection.name} cannot count predictions_{self.model} of {self.day} "
                f"({what}); expected the columns of the prediction log, by a user that may read"
            ) from error


def connect(address: str) -> BaseBackend:
    """The warehouse at an Ibis address (`store.engine`); raises StoreError.

    The message leaves the address out, since it may hold a password.
    """
    import ibis

    try:
        return ibis.connect(address)
    except Exception as error:  # noqa: BLE001  each engine has errors of its own
        scheme = address.partition("://")[0]
        raise StoreError(
            f"store.engine {scheme}://… cannot be opened ({type(error).__name__}); "
            "expected an Ibis address, its driver installed, and a server that answers"
        ) from None
