"""YAML that remembers where each value stands, and pydantic errors told at those places."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mlops_pipelines.errors import DeclarationError, Mistake

Place = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Located:
    """One YAML document: its plain value, and line and column (from 1) of every place in it."""

    file: str
    value: Any
    positions: Mapping[Place, tuple[int, int]]

    def mistake(self, place: Place, message: str, prefix: Place = ()) -> Mistake:
        """A mistake at `place`, or at the nearest place above it that is in the file."""
        known = place
        while known and known not in self.positions:
            known = known[:-1]
        line, column = self.positions.get(known, (1, 1))
        path = ".".join(str(step) for step in place[len(prefix) :])
        return Mistake(self.file, line, column, path, message)


def read_documents(path: Path, shown_as: str) -> list[Located]:
    """The documents of a YAML file; raises DeclarationError where it is not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError([Mistake(shown_as, 1, 1, "", f"cannot be read: {error}")]) from error
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        values = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mistake = Mistake(shown_as, line, column, "", f"not YAML: {problem}")
        raise DeclarationError([mistake]) from error
    return [
        Located(shown_as, value, dict(_positions(node, ())))
        for node, value in zip(nodes, values, strict=True)
        if node is not None
    ]


def _positions(node: yaml.Node, place: Place) -> Iterator[tuple[Place, tuple[int, int]]]:
    yield place, (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _positions(value, (*place, str(key.value)))
            # The key is where an eye looks for a field, so it wins over the value's own mark.
            yield (*place, str(key.value)), (key.start_mark.line + 1, key.start_mark.column + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _positions(value, (*place, index))


def validate(model: type[Model], located: Located, prefix: Place = ()) -> Model:
    """`located.value` (below `prefix`) as a `model`; raises DeclarationError with every mistake."""
    value = located.value
    for step in prefix:
        value = value.get(step) if isinstance(value, dict) else None
    try:
        return model.model_validate(value if value is not None else {})
    except ValidationError as error:
        raise DeclarationError(list(_mistakes(error, model, located, prefix))) from error


def _mistakes(
    error: ValidationError, model: type[BaseModel], located: Located, prefix: Place
) -> Iterator[Mistake]:
    seen: set[Place] = set()
    for detail in error.errors():
        # A union reports each of its branches; the place in the file is the field above them.
        place = _place_in_file((*prefix, *detail["loc"]), located)
        if detail["type"] == "missing" or detail["type"] == "extra_forbidden":
            place = (*prefix, *_without_branches(detail["loc"], located, prefix))
        if place in seen:
            continue
        seen.add(place)
        yield located.mistake(place, _message(dict(detail), model, place[len(prefix) :]), prefix)


def _place_in_file(place: Place, located: Located) -> Place:
    while place and place not in located.positions:
        place = place[:-1]
    return place


def _without_branches(loc: Sequence[str | int], located: Located, prefix: Place) -> Place:
    """`loc` without the names of union branches, which are in no file."""
    place: Place = ()
    for index, step in enumerate(loc):
        if (*prefix, *place, step) in located.positions or index == len(loc) - 1:
            place = (*place, step)
    return place


def _message(detail: dict[str, Any], model: type[BaseModel], place: Place) -> str:
    kind, found, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_field(model, place)
    if kind == "missing":
        return "is required, and missing"
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}, not {found!r}"
    if kind == "value_error":
        message = str(context["error"])
        return message if ", not " in message or isinstance(found, dict) else _not(message, found)
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}, not {found!r}"
    text = str(detail["msg"])
    return _not(text[0].lower() + text[1:], found)


def _not(message: str, found: Any) -> str:
    shown = f"a {type(found).__name__}" if isinstance(found, dict | list) else repr(found)
    return f"{message}, not {shown}"


def _unknown_field(model: type[BaseModel], place: Place) -> str:
    allowed = fields_at(model, place[:-1])
    near = difflib.get_close_matches(str(place[-1]), allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"is not a field; {hint}allowed: {', '.join(allowed)}"


def fields_at(model: type[BaseModel], place: Place) -> list[str]:
    """The names of the fields that `model` allows at `place`."""
    current: type[BaseModel] | None = model
    for step in place:
        if isinstance(step, int) or current is None:
            continue
        field = current.model_fields.get(step)
        current = _model_in(field.annotation) if field else None
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
