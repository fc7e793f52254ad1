"""Builds the images of the product that no registry has, and prints their names as settings.

    .venv/bin/python docker/images.py                      # the product, on python:3.11-slim
    .venv/bin/python docker/images.py --without-registry   # and all else, from Debian's packages

A tag is a hash of what its image is made of: asked again, it is found. BASE_IMAGE names another
base. Python's packages are downloaded by this machine, Debian's within the builds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from product.requirements import product_lock

from mlops_pipelines.errors import MlopsError, TargetError
from mlops_pipelines.release.images.base import base_image, base_python
from mlops_pipelines.release.images.engine import connect
from mlops_pipelines.release.images.packages import install
from mlops_pipelines.release.images.wheelhouse import pinned, wheels

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DEBIAN = "mlops/base:debian"
SLIM = "python:3.11-slim"
SERVICES = ("postgres", "haproxy", "prometheus")
INSTANCE = ("dagster.yaml", "workspace.yaml")
LIBRARY = ("mlops_pipelines", "pyproject.toml", "README.md", "LICENSE")


def main() -> int:
    """Build what is missing; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--without-registry", action="store_true", help="build every image here")
    parser.add_argument(
        "--wheelhouse",
        type=Path,
        default=ROOT / ".mlops" / "wheelhouse",
        help="where downloaded wheels are kept (%(default)s)",
    )
    asked = parser.parse_args()
    base = os.environ.get("BASE_IMAGE") or (DEBIAN if asked.without_registry else SLIM)
    found = {"BASE_IMAGE": base}
    # Whoever builds: in the images, everybody may read.
    os.umask(0o022)
    try:
        if base == DEBIAN:
            _run("sh", str(HERE / "base.sh"), DEBIAN)
        if asked.without_registry:
            for name in SERVICES:
                found[f"{name.upper()}_IMAGE"] = service_image(name, base)
        found["PRODUCT_IMAGE"] = product_image(packages_image(base, asked.wheelhouse))
    except (MlopsError, ValueError, OSError) as error:
        _tell(f"docker/images.py: {error}")
        return 1
    sys.stdout.write("".join(f"{setting}={tag}\n" for setting, tag in found.items()))
    return 0


def service_image(name: str, base: str) -> str:
    """PostgreSQL, HAProxy or Prometheus from Debian's packages, as docker/`name` says."""
    folder = HERE / name
    made_of = [part for file in ("Dockerfile", "entrypoint.sh") for part in _tree(folder / file)]
    tag = f"mlops/{name}:{_hash(_id(base), *made_of)}"
    return tag if _has(tag) else _build(tag, folder, "Dockerfile", {"BASE_IMAGE": base})


def packages_image(base: str, wheelhouse: Path) -> str:
    """What requirements.lock holds for the product, on `base`."""
    lock = product_lock((ROOT / "requirements.lock").read_text("utf-8"))
    recipe = HERE / "product" / "packages.Dockerfile"
    tag = f"mlops/packages:{_hash(_id(base), lock.encode(), recipe.read_bytes())}"
    if _has(tag):
        return tag
    client = connect()
    python = base_python(client, base_image(client, base), base)
    _tell(f"Downloading the product's packages to {wheelhouse} ...")
    found = wheels(pinned(lock, python.environment), python, wheelhouse)
    with tempfile.TemporaryDirectory(prefix="mlops-packages-") as scratch:
        context = Path(scratch)
        _tell(f"Unpacking {len(found)} packages ...")
        install(found, python, wheelhouse, context / "packages")
        shutil.copy(recipe, context)
        return _build(tag, context, recipe.name, {"BASE_IMAGE": base})


def product_image(packages: str) -> str:
    """The library on `packages`: a change of it is a matter of seconds."""
    folder = HERE / "product"
    sources = [part for name in LIBRARY for part in _tree(ROOT / name)]
    settings = [HERE / name for name in INSTANCE]
    sources += [part for path in settings for part in _tree(path)]
    tag = f"mlops/product:{_hash(packages, *_tree(folder), *sources)}"
    if _has(tag):
        return tag
    with tempfile.TemporaryDirectory(prefix="mlops-product-") as scratch:
        context = Path(scratch)
        shutil.copytree(folder, context, dirs_exist_ok=True, ignore=_bytecode)
        for path in settings:
            shutil.copy(path, context)
        (context / "source").mkdir()
        for name in LIBRARY:
            _copy(ROOT / name, context / "source" / name)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
        pip = [sys.executable, "-m", "pip", "install", *quiet, "--no-build-isolation"]
        _run(*pip, "--target", str(context / "library"), str(context / "source"))
        shutil.rmtree(context / "source")
        return _build(tag, context, "Dockerfile", {"PACKAGES_IMAGE": packages})


_bytecode = shutil.ignore_patterns("__pycache__")


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, ignore=_bytecode)
    else:
        shutil.copy(source, to)


def _tree(path: Path) -> list[bytes]:
    """The names and contents of the files below `path`."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [
        part
        for file in files
        if file.is_file() and file.suffix != ".pyc"
        for part in (file.relative_to(path.parent).as_posix().encode(), file.read_bytes())
    ]


def _hash(*parts: str | bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        whole.update(b"%d:" % len(content) + content)
    return whole.hexdigest()[:12]


def _id(image: str) -> str:
    return str(base_image(connect(), image).id)


def _has(tag: str) -> bool:
    command = ["docker", "image", "inspect", tag]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _build(tag: str, context: Path, file: str, arguments: Mapping[str, str]) -> str:
    _tell(f"Building {tag} ...")
    began = time.monotonic()
    proxies = {name: "" for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
    given = [f"{name}={value}" for name, value in arguments.items()] + [*proxies]
    options = [option for each in given for option in ("--build-arg", each)]
    where = ["--file", str(context / file), str(context)]
    _run("docker", "build", "--quiet", "--force-rm", "--tag", tag, *options, *where)
    _tell(f"Built {tag} in {time.monotonic() - began:.0f} s")
    return tag


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _run(*command: str) -> None:
    """Run `command`; what it prints is for people, and standard output is for settings."""
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise TargetError(f"{command[0]} {command[1]} failed with code {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
