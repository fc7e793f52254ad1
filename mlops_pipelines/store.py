"""Where rows, snapshots, bundles and reports lie: a folder, or a bucket of an object store.

Keys are relative paths (`snapshots/churn/1f…/data.parquet`). A write is atomic: a reader sees the
old bytes or the new ones, never half of them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import NotFoundError, StoreError

if TYPE_CHECKING:
    import pandas as pd
    from pyarrow.fs import FileSystem


class Store:
    """Files under `root`: a local folder, or any address that pyarrow.fs knows (`s3://bucket/x`).

    Local reads and writes take no detour through pyarrow. Raises StoreError where the root cannot
    be read or written, NotFoundError where a key is absent.
    """

    def __init__(self, root: str, cache: Path | None = None) -> None:
        self.root = root
        self._remote: FileSystem | None = None
        self._base = root
        self._cache = cache or Path(tempfile.gettempdir()) / "mlops-store-cache"
        if "://" in root and not root.startswith("file://"):
            from pyarrow.fs import FileSystem

            try:
                self._remote, self._base = FileSystem.from_uri(root)
            except (OSError, ValueError) as error:
                # The message may quote the address, and that may hold a secret.
                reason = _one_line(error).replace(root, self.shown)
                raise StoreError(f"store {self.shown} cannot be opened: {reason}") from None
        else:
            self._base = root.removeprefix("file://")

    @property
    def shown(self) -> str:
        """The root as it may be shown: without user, password and query."""
        scheme, separator, rest = self.root.partition("://")
        if not separator:
            return self.root
        return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"

    def uri(self, key: str) -> str:
        """Where people find `key`: a path, or an address."""
        return f"{self._base}/{key}" if self._remote is None else f"{self.shown}/{key}"

    def write_bytes(self, key: str, data: bytes) -> None:
        """Replace what lies at `key`, durably."""
        with self._writing(key):
            if self._remote is None:
                write_atomically(Path(self._base) / key, data)
            else:
                with self._remote.open_output_stream(f"{self._base}/{key}") as stream:
                    stream.write(data)

    def read_bytes(self, key: str) -> bytes:
        """What lies at `key`."""
        with self._reading(key):
            if self._remote is None:
                return (Path(self._base) / key).read_bytes()
            with self._remote.open_input_stream(f"{self._base}/{key}") as stream:
                return bytes(stream.read())

    def write_json(self, key: str, value: Any) -> None:
        """`value` as indented JSON with sorted keys."""
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
        self.write_bytes(key, text.encode() + b"\n")

    def read_json(self, key: str) -> Any:
        """The JSON at `key`."""
        try:
            return json.loads(self.read_bytes(key))
        except ValueError as error:
            raise StoreError(f"store {self.shown}: {key} is not JSON: {error}") from error

    def write_frame(self, key: str, frame: pd.DataFrame) -> None:
        """`frame` as Parquet, without its index."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink, compression="zstd")
        self.write_bytes(key, sink.getvalue().to_pybytes())

    def read_frame(self, key: str) -> pd.DataFrame:
        """The Parquet at `key`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = self.read_bytes(key)
        try:
            frame: pd.DataFrame = pq.read_table(pa.BufferReader(data)).to_pandas()
        except (pa.ArrowException, OSError) as error:
            reason = _one_line(error)
            raise StoreError(f"store {self.shown}: {key} is not Parquet: {reason}") from error
        return frame

    def exists(self, key: str) -> bool:
        """Whether a file lies at `key`."""
        if self._remote is None:
            return (Path(self._base) / key).is_file()
        from pyarrow.fs import FileType

        with self._reading(key):
            info = self._remote.get_file_info(f"{self._base}/{key}")
        return bool(info.type == FileType.File)

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below the folder `prefix`, sorted."""
        if self._remote is None:
            folder = Path(self._base) / prefix
            found = (path.relative_to(self._base).as_posix() for path in folder.rglob("*"))
            yield from sorted(
                key for key in found if (Path(self._base) / key).is_file() and not _is_partial(key)
            )
            return
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(f"{self._base}/{prefix}", recursive=True, allow_not_found=True)
        start = len(self._base) + 1
        with self._reading(prefix):
            infos = self._remote.get_file_info(selector)
        for info in sorted(infos, key=lambda info: str(info.path)):
            if info.type == FileType.File:
                yield info.path[start:]

    def put_folder(self, key: str, folder: Path) -> None:
        """Copy `folder` to `key`: on this machine it is there whole, or not at all.

        An object store takes it file by file; what is fetched from there is content-addressed, so
        that its reader sees what is missing.
        """
        with self._writing(key):
            if self._remote is None:
                target = Path(self._base) / key
                if target.exists():
                    return
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = Path(tempfile.mkdtemp(dir=target.parent, suffix=".partial"))
                shutil.copytree(folder, partial, dirs_exist_ok=True)
                _move(partial, target)
                return
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            for path in files:
                self.write_bytes(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def local_folder(self, key: str) -> Path:
        """The folder at `key` on this machine; from an object store it is fetched once.

        Only for content-addressed folders (bundles), which never change.
        """
        if self._remote is None:
            folder = Path(self._base) / key
            if not folder.is_dir():
                raise NotFoundError(f"store {self.shown} has no {key}")
            return folder.resolve()
        target = self._cache / key
        if not target.is_dir():
            keys = list(self.keys(key))
            if not keys:
                raise NotFoundError(f"store {self.shown} has no {key}")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=target.parent, suffix=".partial"))
            try:
                for name in keys:
                    path = partial / name[len(key) + 1 :]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self.read_bytes(name))
            except BaseException:
                shutil.rmtree(partial)
                raise
            _move(partial, target)
        return target

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"store {self.shown} cannot be written at {key}: {_one_line(error)}; "
                "nothing was changed"
            ) from error

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFoundError(f"store {self.shown} has no {key}") from error
        except OSError as error:
            raise StoreError(
                f"store {self.shown} cannot be read at {key}: {_one_line(error)}"
            ) from error


def _is_partial(key: str) -> bool:
    return any(part.endswith(".partial") for part in key.split("/"))


def _one_line(error: Exception) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error)).split())


def _move(partial: Path, target: Path) -> None:
    partial.chmod(0o755)
    try:
        partial.rename(target)
    except OSError:
        # Another process put the same content there first.
        shutil.rmtree(partial)
        if not target.exists():
            raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` by a temporary file beside it, fsync and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
