"""What a bundle says about itself, and whether its files are the ones that were bundled."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

SCHEMA = 2
SCHEMAS = (1, SCHEMA)
TASKS = ("binary_classification", "multiclass_classification", "regression")
TYPES = ("double", "long", "string", "boolean")

SCIKIT_LEARN = "scikit-learn"
ONNX_RUNTIME = "onnxruntime"
# By runtime, the file that holds the model.
MODEL_FILES = {SCIKIT_LEARN: "model.skops", ONNX_RUNTIME: "model.onnx"}

Label = str | int | float | bool


class BundleError(Exception):
    """The bundle cannot be served: a file is missing, altered or not understood."""


@dataclass(frozen=True)
class Column:
    """One feature of the signature; `type` is one of MLflow's double, long, string, boolean.

    `levels` are the only values that the model takes, None where it takes any of the type.
    """

    name: str
    type: str
    nullable: bool
    levels: tuple[Label, ...] | None = None


@dataclass(frozen=True)
class Runtime:
    """What answers the rows of a bundle, why, and how it compares with scikit-learn.

    Of `rows` rows of the holdout (None: nothing was compared) `differing` had another prediction,
    and none differed by more than `largest_difference`: of probabilities, or of a regression's
    prediction relative to its size, or to `scale` where that is larger. Answers may differ from
    those of training by `tolerance`; None where scikit-learn answers, as it did in training.
    """

    name: str
    reason: str
    tolerance: float | None = None
    scale: float = 1.0
    largest_difference: float | None = None
    differing: int | None = None
    rows: int | None = None

    @property
    def disagrees(self) -> bool:
        """Whether the model was converted, and then did not answer as scikit-learn does."""
        return self.name == SCIKIT_LEARN and self.rows is not None


NEVER_CONVERTED = Runtime(SCIKIT_LEARN, "bundles were not converted yet when this one was built")


@dataclass(frozen=True)
class Bundle:
    """A bundle's `bundle.json`, with the folder it lies in and its digest.

    `classes` are the labels in the order of the probabilities; None for a regression. `limits` are
    the fields of `signature.Limits` that the declaration sets; with `sync` an answer waits until
    its row is on the disk.
    """

    path: Path
    model: str
    version: int
    task: str
    columns: tuple[Column, ...]
    target: str
    classes: tuple[Label, ...] | None
    positive: Label | None
    trusted_types: tuple[str, ...]
    run_id: str
    snapshot: str
    digest: str
    runtime: Runtime = NEVER_CONVERTED
    limits: Mapping[str, float] = field(default_factory=dict)
    sync: bool = True

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the signature's order."""
        return tuple(column.name for column in self.columns)


def read_bundle(path: Path, verify: bool = False) -> Bundle:
    """The bundle in the folder `path`; with `verify`, every listed file is hashed first.

    Raises BundleError, naming the file that is missing, altered or not understood.
    """
    manifest = read_json(path, "manifest.json")
    if verify:
        _verify(path, manifest)
    if "digest" not in manifest:
        raise BundleError(f"{path}/manifest.json lacks 'digest'")
    return described(path, read_json(path, "bundle.json"), manifest["digest"])


def described(path: Path, said: dict[str, Any], digest: str) -> Bundle:
    """The bundle in `path` whose bundle.json holds `said`; raises BundleError."""
    if said.get("schema") not in SCHEMAS:
        expected = " or ".join(map(str, SCHEMAS))
        raise BundleError(f"{path}/bundle.json: schema {said.get('schema')!r}, expected {expected}")
    try:
        columns = tuple(map(_column, said["columns"]))
        bundle = Bundle(
            path=path,
            model=said["model"],
            version=said["version"],
            task=said["task"],
            columns=columns,
            target=said["target"],
            classes=None if said["classes"] is None else tuple(said["classes"]),
            positive=said["positive"],
            trusted_types=tuple(said["trusted_types"]),
            run_id=said["run_id"],
            snapshot=said["snapshot"],
            digest=digest,
            runtime=Runtime(**said["runtime"]) if said["schema"] > 1 else NEVER_CONVERTED,
            limits=said.get("limits", {}),
            sync=said.get("sync", True),
        )
    except (KeyError, TypeError) as exc:
        raise BundleError(f"{path}/bundle.json lacks {exc}") from exc
    unknown = sorted({column.type for column in columns} - set(TYPES))
    if bundle.task not in TASKS or unknown:
        found = f"task {bundle.task!r}" if bundle.task not in TASKS else f"column types {unknown}"
        raise BundleError(f"{path}/bundle.json: {found}, expected one of {TASKS} over {TYPES}")
    if bundle.runtime.name not in MODEL_FILES:
        found = f"runtime {bundle.runtime.name!r}"
        raise BundleError(f"{path}/bundle.json: {found}, expected one of {tuple(MODEL_FILES)}")
    if (bundle.classes is None) != (bundle.task == "regression"):
        raise BundleError(f"{path}/bundle.json: classes do not fit the task {bundle.task!r}")
    return bundle


def _column(said: dict[str, Any]) -> Column:
    levels = said.get("levels")
    return Column(
        said["name"], said["type"], said["nullable"], None if levels is None else tuple(levels)
    )


def read_json(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in the bundle's file `name`. Raises BundleError."""
    try:
        document = orjson.loads((path / name).read_bytes())
    except OSError as exc:
        raise BundleError(f"{path}/{name} cannot be read: {exc.strerror}") from exc
    except orjson.JSONDecodeError as exc:
        raise BundleError(f"{path}/{name} is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise BundleError(f"{path}/{name} is not a JSON object")
    return document


def _verify(path: Path, manifest: dict[str, Any]) -> None:
    """Hash every file that the manifest lists, and the list itself (sorted, compact JSON)."""
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(f"{path}/manifest.json lists no files")
    listed = hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS)).hexdigest()
    if listed != manifest.get("digest"):
        raise BundleError(f"{path}/manifest.json was altered: its digest is not that of its list")
    for name, expected in files.items():
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise BundleError(f"{path}/{name} cannot be read: {exc.strerror}") from exc
        if found != expected:
            raise BundleError(
                f"{path}/{name} was altered: sha256 {found[:12]}…, expected {expected[:12]}…"
            )


def bind_user_code(path: Path) -> None:
    """Make the bundle's own `code/assets` importable as the package `assets`.

    Where `assets` is bound already (in a process that loaded the project), the bundle's folder
    comes last, so that the project's own code keeps its place.
    """
    folder = path / "code" / "assets"
    if not folder.is_dir():
        return
    package = sys.modules.get("assets")
    if package is None:
        package = ModuleType("assets")
        package.__path__ = []
        sys.modules["assets"] = package
    if str(folder) not in package.__path__:
        package.__path__.append(str(folder))
