"""Tar files that are the same bytes for the same content."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

EPOCH = 315532800
"""1980-01-01: every file's time, for no other is known to all who build."""


class Archive:
    """A tar file that is being written: whose it is, its modes and times are always the same."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        self._folders: set[str] = set()

    def folder(self, name: str, owner: int = 0) -> None:
        """Put in the folder `name` with those above it, once; only itself is of `owner`."""
        above, _, _ = name.rpartition("/")
        if above:
            self.folder(above)
        if name not in self._folders:
            self._folders.add(name)
            self._tar.addfile(_entry(name, 0o755, tarfile.DIRTYPE, owner))

    def file(self, name: str, content: bytes | Path, *, executable: bool = False) -> None:
        """Put in a file that all may read, and its folders."""
        above, _, _ = name.rpartition("/")
        if above:
            self.folder(above)
        entry = _entry(name, 0o755 if executable else 0o644, tarfile.REGTYPE, 0)
        if isinstance(content, Path):
            entry.size = content.stat().st_size
            with content.open("rb") as stream:
                self._tar.addfile(entry, stream)
        else:
            entry.size = len(content)
            self._tar.addfile(entry, io.BytesIO(content))

    def tree(self, name: str, root: Path, without: str = "") -> None:
        """Put in the files below `root` in the order of their names, but none in `without`."""
        for path in sorted(root.rglob("*")):
            if path.is_file() and without not in path.parts:
                runs = bool(path.stat().st_mode & 0o100)
                self.file(f"{name}/{path.relative_to(root).as_posix()}", path, executable=runs)

    def close(self) -> None:
        """End the tar; the stream stays open."""
        self._tar.close()


def build_context(stream: IO[bytes], dockerfile: str, files: Mapping[str, bytes | Path]) -> None:
    """Write to `stream` what an engine builds from, and go back to its beginning."""
    archive = Archive(stream)
    archive.file("Dockerfile", dockerfile.encode())
    for name, content in files.items():
        archive.file(name, content)
    archive.close()
    stream.seek(0)


def _entry(name: str, mode: int, kind: bytes, owner: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type, entry.mtime = mode, kind, EPOCH
    entry.uid = entry.gid = owner
    return entry
