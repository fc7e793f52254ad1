"""YAML's scalars as YAML 1.2 reads them, and what its parser says in a user's words."""

from __future__ import annotations

import re
from typing import Any

import yaml

INT = "tag:yaml.org,2002:int"
_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
"""https://yaml.org/spec/1.2.2/#103-core-schema, and merge keys."""


class CoreLoader(yaml.SafeLoader):
    """Plain values as YAML 1.2 reads them; what cannot be read says where."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of `node`; raises a MarkedYAMLError where it is not what its tag says."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            kind = str(node.tag).rpartition(":")[2]
            raise problem_at(f"a value cannot be read as {kind}", node) from error

    def construct_number(self, node: yaml.Node) -> int:
        """A whole number; a leading zero does not make it octal."""
        text = str(self.construct_scalar(node))  # type: ignore[arg-type]
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


for _tag, _pattern, _starts in _CORE_SCHEMA:
    CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _starts
    )
CoreLoader.add_constructor(INT, CoreLoader.construct_number)


def problem_at(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    """An error of YAML itself, at `node`."""
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_WORDS = (
    ("cannot start any token", r"'\\t'", "a tab; indent with spaces"),
    ("cannot start any token", "", "a text that starts with a special character; quote it"),
    ("mapping values are not allowed", "", "a second ':' in one line; quote the text that has it"),
    ("<block end>", "", "the indentation does not fit the lines above"),
    ("could not find expected ':'", "", "a line without ':' where a field was expected"),
)


def in_words(problem: str) -> str:
    """What PyYAML calls `problem`, said so that it can be mended."""
    for part, and_also, words in _WORDS:
        if part in problem and re.search(and_also, problem):
            return words
    return problem.splitlines()[0]
