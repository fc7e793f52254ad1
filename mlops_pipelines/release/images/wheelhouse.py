"""The wheels of a lock file, downloaded by this machine once and kept."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines.errors import TargetError
from mlops_pipelines.record import file_hash
from mlops_pipelines.release.images.base import BasePython
from mlops_pipelines.release.images.disk import full
from mlops_pipelines.release.images.engine import FULL
from mlops_pipelines.release.lock import canonical, pin, requirements


@dataclass(frozen=True)
class Pinned:
    """One package of a lock file that the base image's Python needs."""

    name: str
    release: str
    hashes: frozenset[str]

    @property
    def line(self) -> str:
        """As pip reads it, without a marker: pip would judge that by the Python it runs in."""
        hashes = "".join(f" --hash=sha256:{each}" for each in sorted(self.hashes))
        return f"{self.name}=={self.release}{hashes}\n"


def pinned(lock: str, environment: Mapping[str, str]) -> tuple[Pinned, ...]:
    """The packages of `lock` whose markers hold in `environment`; raises TargetError."""
    from packaging.markers import Marker

    found = []
    for name, lines in requirements(lock):
        release, marker, hashes = pin(lines)
        if release is None:
            raise TargetError(f"the bundle's requirements.lock does not pin {name} with ==")
        if marker is None or Marker(marker).evaluate({**environment, "extra": ""}):
            found.append(Pinned(canonical(name), release, hashes))
    return tuple(found)


def wheels(packages: Sequence[Pinned], python: BasePython, wheelhouse: Path) -> tuple[Path, ...]:
    """The wheel of each package, from the folder `wheelhouse`; what lacks there is downloaded.

    Raises TargetError where one cannot be downloaded or kept.
    """
    try:
        wheelhouse.mkdir(parents=True, exist_ok=True)
        found = _kept(packages, python, wheelhouse)
        missing = [each for each in packages if each not in found]
        if missing:
            _download(missing, python, wheelhouse)
            found = _kept(packages, python, wheelhouse)
    except OSError as error:
        raise unwritable(wheelhouse, error) from error
    lost = [f"{each.name}=={each.release}" for each in packages if each not in found]
    if lost:
        raise TargetError(f"no wheel of {', '.join(lost)} came to {wheelhouse}")
    return tuple(found[each] for each in packages)


def _kept(packages: Sequence[Pinned], python: BasePython, wheelhouse: Path) -> dict[Pinned, Path]:
    """By package, the wheel that is there, fits and is the one that was locked."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    wanted = {(each.name, each.release): each for each in packages}
    fitting = _tags(python)
    best: dict[Pinned, tuple[int, Path]] = {}
    for path in sorted(wheelhouse.glob("*.whl")):
        try:
            name, release, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        package = wanted.get((name, str(release)))
        rank = min((fitting[str(tag)] for tag in tags if str(tag) in fitting), default=None)
        if package is None or rank is None:
            continue
        if package.hashes and file_hash(path) not in package.hashes:
            continue
        if package not in best or rank < best[package][0]:
            best[package] = (rank, path)
    return {package: path for package, (_, path) in best.items()}


def _tags(python: BasePython) -> dict[str, int]:
    """By tag of a wheel that the Python can use, its place: the first is the best."""
    from packaging.tags import compatible_tags, cpython_tags

    version = tuple(map(int, python.short.split(".")))
    short = "cp" + python.short.replace(".", "")
    tags = [
        *cpython_tags(version, platforms=python.platforms),
        *compatible_tags(version, short, python.platforms),
    ]
    return {str(tag): place for place, tag in reversed([*enumerate(tags)])}


def _download(packages: Sequence[Pinned], python: BasePython, wheelhouse: Path) -> None:
    with tempfile.TemporaryDirectory(dir=wheelhouse, prefix=".new-") as scratch:
        folder = Path(scratch)
        (folder / "requirements.txt").write_text("".join(each.line for each in packages), "utf-8")
        hashed = all(each.hashes for each in packages)
        pip(
            "download",
            *(["--require-hashes"] if hashed else []),
            "--no-deps",
            "--dest",
            str(folder),
            "--requirement",
            str(folder / "requirements.txt"),
            *foreign(python),
            doing="downloading the runtime's wheels",
            wheelhouse=wheelhouse,
        )
        for path in folder.glob("*.whl"):
            path.replace(wheelhouse / path.name)


def foreign(python: BasePython) -> list[str]:
    """Options of pip that make it work for another Python than its own."""
    platforms = [option for each in python.platforms for option in ("--platform", each)]
    version = ["--python-version", python.version, "--implementation", "cp"]
    return ["--only-binary=:all:", *version, *platforms]


def pip(*arguments: str, doing: str, wheelhouse: Path) -> None:
    """Run this Python's pip quietly; raises TargetError with what it complained of."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    said = done.stderr
    if FULL in said.lower():
        raise TargetError(_full(wheelhouse))
    if "No module named pip" in said:
        raise TargetError(f"{doing} needs pip, which {sys.executable} lacks; python -m ensurepip")
    lines = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()
    told = " ".join((lines[-1] if lines else "").removeprefix("ERROR:").split())
    raise TargetError(f"{doing} failed: {told[:300]}")


def unwritable(wheelhouse: Path, error: OSError) -> TargetError:
    """What to raise where the folder of the wheels cannot be written."""
    if error.errno == errno.ENOSPC:
        return TargetError(_full(wheelhouse))
    return TargetError(f"the wheelhouse {wheelhouse} cannot be written: {error.strerror}")


def _full(wheelhouse: Path) -> str:
    return full(wheelhouse, "the wheels are kept there, and only there")
