"""YAML that remembers where each value stands, and what is wrong with it told at those places.

Values are read as YAML 1.2 does (its core schema): `on`, `yes` and `2026-01-31` are text, `1e-3` is
a number. A key given twice is a mistake, not the later of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mlops_pipelines.core_yaml import INT, CoreLoader, in_words, problem_at
from mlops_pipelines.errors import DeclarationError, Mistake
from mlops_pipelines.wording import FieldError, message_of

Place = tuple[str | int, ...]
Position = tuple[int, int]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Located:
    """One YAML document: its plain value, and line and column (from 1) of every place in it."""

    file: str
    value: Any
    positions: Mapping[Place, Position]

    def mistake(self, place: Place, message: str, prefix: Place = ()) -> Mistake:
        """A mistake at `place`, or at the nearest place above it that is in the file."""
        known = self.nearest(place)
        line, column = self.positions.get(known, (1, 1))
        path = ".".join(str(step) for step in place[len(prefix) :] or place)
        return Mistake(self.file, line, column, path, message)

    def nearest(self, place: Place) -> Place:
        """`place`, or the nearest place above it that is in the file."""
        while place and place not in self.positions:
            place = place[:-1]
        return place


def read_documents(path: Path, shown_as: str) -> list[Located]:
    """The documents of a YAML file; raises DeclarationError where it is not YAML."""
    text = _text(path, shown_as)
    try:
        return list(_documents(text, shown_as))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = str(error.problem or error.context)
    except yaml.reader.ReaderError as error:
        place = _line_and_column(text[: error.position])
        problem = f"the character U+{ord(text[error.position]):04X} is not allowed"
    except RecursionError:
        place, problem = (1, 1), "it is nested too deeply"
    raise DeclarationError([Mistake(shown_as, *place, "", f"is not YAML: {in_words(problem)}")])


def _text(path: Path, shown_as: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise DeclarationError([Mistake(shown_as, 1, 1, "", message)]) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _line_and_column(data[: error.start].decode("utf-8"))
        message = f"is not UTF-8: found byte 0x{data[error.start]:02x}; save the file as UTF-8"
        raise DeclarationError([Mistake(shown_as, *place, "", message)]) from error


def _line_and_column(before: str) -> Position:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _documents(text: str, shown_as: str) -> Iterator[Located]:
    loader = CoreLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            positions: dict[Place, Position] = {}
            _walk(node, (), positions, ())
            yield Located(shown_as, loader.construct_document(node), positions)
    finally:
        loader.dispose()


def _walk(
    node: yaml.Node, place: Place, positions: dict[Place, Position], above: tuple[yaml.Node, ...]
) -> None:
    if any(node is each for each in above):
        raise problem_at("an alias refers to what contains it", node)
    # The key is where an eye looks for a field, so it comes before the value's own mark.
    positions.setdefault(place, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        first: dict[Any, int] = {}
        for key, value in node.value:
            step = _step(key)
            line = key.start_mark.line + 1
            if step in first:
                raise problem_at(f"{step!r} is given twice, first in line {first[step]}", key)
            first[step] = line
            positions[(*place, step)] = (line, key.start_mark.column + 1)
            _walk(value, (*place, step), positions, (*above, node))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*place, index), positions, (*above, node))


_DECIMAL = re.compile(r"[-+]?[0-9]{1,18}")


def _step(key: yaml.Node) -> str | int:
    if not isinstance(key, yaml.ScalarNode):
        raise problem_at("a key is a mapping or a list; quote what starts with { or [", key)
    text = str(key.value)
    return int(text) if key.tag == INT and _DECIMAL.fullmatch(text) else text


def validate(model: type[Model], located: Located, prefix: Place = ()) -> Model:
    """`located.value` (below `prefix`) as a `model`; raises DeclarationError with every mistake."""
    value = located.value
    for step in prefix:
        value = value.get(step) if isinstance(value, dict) else None
    mistakes = [
        located.mistake((*prefix, *place), _WRITTEN_DOWN, prefix) for place in _passwords(value)
    ]
    try:
        found = model.model_validate(value if value is not None else {})
    except ValidationError as error:
        mistakes.extend(_mistakes(error, model, located, prefix))
    if mistakes:
        raise DeclarationError(sorted(mistakes, key=lambda each: (each.line, each.column)))
    return found


_PASSWORD = re.compile(r"^[A-Za-z][\w+.-]*://[^/\s:@]*:[^/\s@]+@")
_WRITTEN_DOWN = "holds a password; put the address into an environment variable: {env: NAME}"


def _passwords(value: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(value, str) and _PASSWORD.match(value):
        yield place
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _passwords(inner, (*place, key if isinstance(key, int) else str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _passwords(inner, (*place, index))


def _mistakes(
    error: ValidationError, model: type[BaseModel], located: Located, prefix: Place
) -> Iterator[Mistake]:
    seen: set[Place] = set()
    for detail in error.errors():
        place = (*prefix, *_without_branches(detail["loc"], located, prefix))
        if detail["type"] not in ("missing", "extra_forbidden"):
            # A union names its branch; the place in the file is the field above it.
            place = located.nearest(place)
        raised = detail.get("ctx", {}).get("error")
        if isinstance(raised, FieldError) and raised.field is not None:
            place = (*place, raised.field)
        if place not in seen:
            seen.add(place)
            message = message_of(dict(detail), model, place[len(prefix) :])
            yield located.mistake(place, message, prefix)


def _without_branches(loc: Sequence[str | int], located: Located, prefix: Place) -> Place:
    """`loc` without the names of union branches, which are in no file."""
    place: Place = ()
    for index, step in enumerate(loc):
        if (*prefix, *place, step) in located.positions or index == len(loc) - 1:
            place = (*place, step)
    return place
