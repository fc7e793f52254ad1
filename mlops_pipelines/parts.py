"""What declarations and environments are made of: mappings, secrets, import paths."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
)

from mlops_pipelines.wording import FieldError


def matching(pattern: str, words: str) -> Callable[[str], str]:
    """A check that a whole text matches `pattern`; `words` say what is allowed."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(words)
        return text

    return check


_IMPORT_PATH = r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"
_ENV_NAME = r"[A-Z_][A-Z0-9_]*"
_OWNER = r"team:[\w.-]+|[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}"

ImportPath = Annotated[
    str,
    AfterValidator(
        matching(_IMPORT_PATH, "must be module:attribute, such as 'sklearn.datasets:load_wine'")
    ),
    Field(
        description="module:attribute; the module may be a file beside this declaration",
        json_schema_extra={"pattern": f"^{_IMPORT_PATH}$"},
    ),
]

Owner = Annotated[str, AfterValidator(matching(_OWNER, "must be an e-mail address or team:NAME"))]


class Part(BaseModel):
    """A mapping in a declaration: unknown fields are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FromEnv(Part):
    """A secret, named and never written: `{env: NAME}`."""

    env: str = Field(
        description="environment variable that holds it",
        json_schema_extra={"pattern": f"^{_ENV_NAME}$"},
    )

    @field_validator("env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(_ENV_NAME, name):
            # What stands here by mistake may be the secret itself, so it is not shown.
            raise FieldError("must name an environment variable: upper case, digits and _")
        return name


_TEXT, _MAPPING = "text or {env: NAME}", "{env: NAME}"
"""Names of the branches; a message about the first shows it as what is allowed."""


def _branch(value: Any) -> str:
    return _MAPPING if isinstance(value, dict | FromEnv) else _TEXT


Text = Annotated[
    Annotated[str, Tag(_TEXT)] | Annotated[FromEnv, Tag(_MAPPING)], Discriminator(_branch)
]
"""A setting, or the environment variable that holds it."""
