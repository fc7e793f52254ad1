"""Finds the project folder and loads what it declares."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlops_pipelines.environment import Environment, load_environment, resolve
from mlops_pipelines.errors import DeclarationError, Mistake, MlopsError, NotFoundError
from mlops_pipelines.located import Located, Place, read_documents, validate
from mlops_pipelines.spec import ModelSpec, is_name
from mlops_pipelines.store import Store
from mlops_pipelines.tasks import metric_mistakes
from mlops_pipelines.wording import shown as shown_value
from mlops_pipelines.wording import unknown_field

COMPONENT = "mlops_pipelines.MonitoredModel"
TOP_LEVEL = ("type", "attributes", "template_vars_module", "requirements", "post_processing")
"""What Dagster allows beside `attributes`."""


@dataclass(frozen=True)
class Declared:
    """A declared model: its spec, its folder, and where in which file it is named."""

    spec: ModelSpec
    folder: Path
    file: str
    document: int = 0
    position: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Broken:
    """A declaration with mistakes; `name` is its own, or its folder's.

    `document` counts the documents of its file from 0; None is what Dagster refuses as a whole.
    `contained` says that all mistakes lie within `attributes`, so that Dagster can still load what
    stands around them.
    """

    name: str
    folder: Path
    file: str
    document: int | None
    mistakes: tuple[Mistake, ...]
    contained: bool


@dataclass(frozen=True)
class Project:
    """The project folder `root`, its state under `home`, and the environment it runs in."""

    root: Path
    home: Path
    environment_name: str = "local"
    broken: list[Broken] = field(default_factory=list, compare=False)

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project of $MLOPS_PROJECT, of `start` (here) or a folder above, or the package's."""
        root = _find_root(start or Path.cwd())
        home = Path(os.environ.get("MLOPS_HOME") or root / ".mlops")
        return cls(root, home.absolute(), os.environ.get("MLOPS_ENV") or "local")

    @cached_property
    def environment(self) -> Environment:
        """What resources/<environment>.yaml says."""
        return load_environment(self.root, self.environment_name)

    @cached_property
    def models(self) -> dict[str, Declared]:
        """Every sound declaration by name; the others are in `broken`."""
        found: dict[str, Declared] = {}
        self.broken.clear()
        for file in declaration_files(self.root):
            declared, broken = read_file(self.root, file)
            self.broken.extend(broken)
            for each in declared:
                twin = found.setdefault(each.spec.name, each)
                if twin is not each:
                    self.broken.append(_twin(each, twin))
        return found

    def model(self, name: str) -> Declared:
        """The declaration of `name`; raises DeclarationError or NotFoundError."""
        if name in self.models:
            return self.models[name]
        for broken in self.broken:
            if broken.name == name:
                raise DeclarationError(broken.mistakes)
        known = ", ".join(sorted(self.models)) or "none"
        raise NotFoundError(f"no model {name!r} is declared under assets/; there are: {known}")

    @cached_property
    def store(self) -> Store:
        """The store of the environment."""
        root = resolve(self.environment.store.root, str(self.home / "store"))
        return Store(root, cache=self.home / "cache")

    @property
    def tracking_uri(self) -> str:
        """MLflow's address, or SQLite under the home folder."""
        default = f"sqlite:///{self.home / 'mlflow.db'}"
        return resolve(self.environment.mlflow.tracking_uri, default)

    @property
    def artifact_root(self) -> str:
        """Where MLflow keeps the artifacts of new experiments; empty where its server decides."""
        if self.environment.mlflow.artifact_root is not None:
            return resolve(self.environment.mlflow.artifact_root)
        if self.tracking_uri.startswith("http"):
            return ""
        return str(self.home / "artifacts")

    @property
    def serving_home(self) -> Path:
        """Where the servers of this machine keep their logs until these are compacted."""
        return self.home / "serving"


def declaration_file(folder: Path) -> Path | None:
    """The declaration that Dagster reads in `folder`, None where there is none."""
    return next(
        (path for path in (folder / "defs.yaml", folder / "defs.yml") if path.exists()), None
    )


def declaration_files(root: Path) -> Iterator[Path]:
    """Every defs.yaml below `root`/assets, sorted by path."""
    folders = {path.parent for path in (root / "assets").rglob("defs.y*ml")}
    for folder in sorted(folders):
        file = declaration_file(folder)
        hidden = any(part.startswith((".", "__")) for part in folder.relative_to(root).parts)
        if file is not None and not hidden:
            yield file


def read_declarations(root: Path, file: Path) -> list[Declared]:
    """The models that one defs.yaml declares; raises DeclarationError with every mistake in it."""
    declared, broken = read_file(root, file)
    if broken:
        raise DeclarationError([mistake for each in broken for mistake in each.mistakes])
    return declared


def read_file(root: Path, file: Path) -> tuple[list[Declared], list[Broken]]:
    """The sound and the broken declarations of one defs.yaml, in its order."""
    shown, folder = file.relative_to(root).as_posix(), file.parent
    declared: list[Declared] = []
    broken: list[Broken] = []
    try:
        documents = read_documents(file, shown)
        if not documents:
            message = f"is empty; type: {COMPONENT} and attributes are expected"
            raise DeclarationError([Mistake(shown, 1, 1, "", message)])
    except DeclarationError as error:
        return [], [Broken(folder.name, folder, shown, 0, error.mistakes, contained=False)]
    for index, document in enumerate(documents):
        try:
            spec = read_spec(document)
        except DeclarationError as error:
            name, contained = _own_name(document) or folder.name, _is_contained(document)
            broken.append(Broken(name, folder, shown, index, error.mistakes, contained))
            continue
        if spec is not None:
            place = document.positions[("attributes", "name")]
            declared.append(Declared(spec, folder, shown, index, place))
    return declared, broken


def read_spec(document: Located) -> ModelSpec | None:
    """The spec in one YAML document, or None where it declares another component."""
    value = document.value
    if not isinstance(value, dict):
        message = f"must be a mapping with type and attributes, not {shown_value(value)}"
        raise DeclarationError([document.mistake((), message)])
    kind = value.get("type")
    mistakes = list(_around(document, value))
    if mistakes and kind != COMPONENT:
        raise DeclarationError(mistakes)
    if kind != COMPONENT:
        return None
    within: Place = ("attributes",)
    mistakes.extend(
        document.mistake((*within, *place), message, within)
        for place, message in metric_mistakes(value.get("attributes"))
    )
    try:
        spec = validate(ModelSpec, document, within)
    except DeclarationError as error:
        mistakes.extend(error.mistakes)
    if mistakes:
        raise DeclarationError(sorted(mistakes, key=lambda each: (each.line, each.column)))
    return spec


def _around(document: Located, value: dict[Any, Any]) -> Iterator[Mistake]:
    """Mistakes beside `attributes`: another type than ours is Dagster's to judge."""
    kind = value.get("type")
    if kind is None:
        yield document.mistake(("type",), f"is required, and missing; {COMPONENT} is expected")
        return
    if not isinstance(kind, str):
        yield document.mistake(("type",), f"must be {COMPONENT}, not {shown_value(kind)}")
        return
    if kind != COMPONENT:
        ours = kind.startswith("mlops_pipelines.")
        if ours or difflib.get_close_matches(kind, [COMPONENT], cutoff=0.8):
            yield document.mistake(("type",), f"must be {COMPONENT}, not {kind!r}")
        elif not kind.startswith(".") and not _is_installed(kind.partition(".")[0]):
            yield document.mistake(
                ("type",), f"{kind!r} is of no installed module; a monitored model is {COMPONENT}"
            )
        return
    for field_ in value:
        if field_ not in TOP_LEVEL:
            yield document.mistake((str(field_),), unknown_field(str(field_), TOP_LEVEL))


def _is_installed(module: str) -> bool:
    try:
        return bool(module) and find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _is_contained(document: Located) -> bool:
    value = document.value
    attributes = value.get("attributes") if isinstance(value, dict) else None
    return (
        isinstance(value, dict)
        and value.get("type") == COMPONENT
        and all(field_ in TOP_LEVEL for field_ in value)
        and (
            attributes is None
            or (isinstance(attributes, dict) and all(isinstance(key, str) for key in attributes))
        )
    )


def _own_name(document: Located) -> str | None:
    attributes = document.value.get("attributes") if isinstance(document.value, dict) else None
    name = attributes.get("name") if isinstance(attributes, dict) else None
    return name if isinstance(name, str) and is_name(name) else None


def _twin(declared: Declared, first: Declared) -> Broken:
    name = declared.spec.name
    message = f"{name!r} is already declared at {first.file}:{first.position[0]}"
    mistake = Mistake(declared.file, *declared.position, "name", message)
    where = (declared.folder, declared.file, declared.document)
    return Broken(name, *where, (mistake,), contained=False)


def _find_root(start: Path) -> Path:
    named = os.environ.get("MLOPS_PROJECT")
    if named:
        if not (Path(named) / "assets").is_dir():
            raise MlopsError(f"MLOPS_PROJECT={named}: there is no assets/ folder in it")
        return Path(named).resolve()
    package = Path(__file__).resolve().parent
    for folder in (start, *start.resolve().parents, *package.parents):
        if (folder / "workspace.yaml").is_file() and (folder / "assets").is_dir():
            return folder.resolve()
    raise MlopsError(
        f"{start} is in no project: a folder with workspace.yaml and assets/ was expected; "
        "go there, or name it with MLOPS_PROJECT"
    )
