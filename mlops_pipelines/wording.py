"""What pydantic finds wrong with a value, told in the words of who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel


class FieldError(ValueError):
    """A mistake whose message is shown as it is, in `field` of the mapping that found it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        self.field = field
        super().__init__(message)


def message_of(detail: dict[str, Any], model: type[BaseModel], place: Sequence[str | int]) -> str:
    """What is allowed at `place` of `model`, and what was found, from one error of pydantic."""
    kind, found, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_field(str(place[-1]), fields_at(model, detail["loc"][:-1]))
    if kind == "missing":
        return "is required, and missing"
    if kind == "value_error":
        message = str(context["error"])
        as_it_is = isinstance(context["error"], FieldError) or isinstance(found, dict)
        return message if as_it_is else f"{message}, not {shown(found)}"
    if kind == "string_too_short":
        return "must not be empty"
    branch = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "string_type" and branch.startswith("text or "):
        words = f"must be {branch}"
    elif kind in ("model_type", "model_attributes_type"):
        words = f"must be a mapping with {', '.join(fields_at(model, place))}"
    elif kind in _ALLOWED:
        words = _ALLOWED[kind].format(**context)
    else:
        text = str(detail["msg"])
        words = text[0].lower() + text[1:]
    return f"{words}, not {shown(found)}"


_ALLOWED = {
    "literal_error": "must be {expected}",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "date_type": "must be a date such as 2026-01-31",
    "date_parsing": "must be a date such as 2026-01-31",
    "date_from_datetime_parsing": "must be a date such as 2026-01-31",
    "date_from_datetime_inexact": "must be a date such as 2026-01-31",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "invalid_key": "must be text",
}
"""What is allowed, by pydantic's type of the error."""


def shown(found: Any) -> str:
    """A value of a YAML file as a message shows it."""
    if found is None:
        return "nothing"
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, dict):
        return "a mapping"
    if isinstance(found, list | set | tuple):
        return "a list"
    if isinstance(found, int) and abs(found) >= 10**18:
        return "a very large number"
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."


def fields_at(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The names of the fields that `model` allows at `place`, where a union names its branch."""
    current = [model]
    for step in place:
        if isinstance(step, int):
            continue
        fields = [each.model_fields[step] for each in current if step in each.model_fields]
        if fields:
            current = _models_in(fields[0].annotation)
        else:
            current = [each for each in current if step in _branch(each)] or current
    return list(current[0].model_fields) if current else []


def _branch(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("type")
    return getattr(field.annotation, "__args__", ()) if field else ()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]


def unknown_field(name: str, allowed: Sequence[str]) -> str:
    """What is wrong with a field called `name`, and which it may have been."""
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"is not a field; {hint}allowed: {', '.join(allowed)}"
