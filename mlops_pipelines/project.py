"""Finds the project folder and loads what it declares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mlops_pipelines.environment import Environment, load_environment, resolve
from mlops_pipelines.errors import DeclarationError, Mistake, MlopsError, NotFoundError
from mlops_pipelines.located import Located, read_documents, validate
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store

COMPONENT = "mlops_pipelines.MonitoredModel"


@dataclass(frozen=True)
class Declared:
    """A declared model: its spec, its folder and the file that declares it."""

    spec: ModelSpec
    folder: Path
    file: str


@dataclass(frozen=True)
class Broken:
    """A declaration with mistakes; `name` is its own, or its folder's."""

    name: str
    file: str
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class Project:
    """The project folder `root`, its state under `home`, and the environment it runs in."""

    root: Path
    home: Path
    environment_name: str = "local"
    broken: list[Broken] = field(default_factory=list, compare=False)

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project of $MLOPS_PROJECT, of the working directory or above it, or this package's."""
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
            try:
                for declared in read_declarations(self.root, file):
                    twin = found.get(declared.spec.name)
                    if twin is not None:
                        name = declared.spec.name
                        message = f"name {name!r} is already declared in {twin.file}"
                        raise DeclarationError([Mistake(declared.file, 1, 1, "", message)])
                    found[declared.spec.name] = declared
            except DeclarationError as error:
                shown = file.relative_to(self.root).as_posix()
                self.broken.append(Broken(file.parent.name, shown, error.mistakes))
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


def declaration_files(root: Path) -> Iterator[Path]:
    """Every defs.yaml below `root`/assets, sorted by path."""
    for file in sorted((root / "assets").rglob("defs.y*ml")):
        if not any(part.startswith((".", "__")) for part in file.relative_to(root).parts):
            yield file


def read_declarations(root: Path, file: Path) -> list[Declared]:
    """The models that one defs.yaml declares; raises DeclarationError with every mistake in it."""
    shown = file.relative_to(root).as_posix()
    declared, mistakes = [], []
    for document in read_documents(file, shown):
        try:
            spec = read_spec(document)
        except DeclarationError as error:
            mistakes.extend(error.mistakes)
            continue
        if spec is not None:
            declared.append(Declared(spec, file.parent, shown))
    if mistakes:
        raise DeclarationError(mistakes)
    return declared


def read_spec(document: Located) -> ModelSpec | None:
    """The spec in one YAML document, or None where it declares another component."""
    value = document.value
    if not isinstance(value, dict):
        raise DeclarationError([document.mistake((), "must be a mapping with type and attributes")])
    kind = value.get("type")
    if not isinstance(kind, str):
        message = f"must be {COMPONENT}, not {kind!r}"
        raise DeclarationError([document.mistake(("type",), message)])
    if kind.startswith("mlops_pipelines.") and kind != COMPONENT:
        raise DeclarationError([document.mistake(("type",), f"must be {COMPONENT}, not {kind!r}")])
    if kind != COMPONENT:
        return None
    spec = validate(ModelSpec, document, ("attributes",))
    mistakes = [
        document.mistake(("attributes", *place), message, ("attributes",))
        for place, message in spec.metric_mistakes()
    ]
    if mistakes:
        raise DeclarationError(mistakes)
    return spec


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
