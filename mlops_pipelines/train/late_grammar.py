"""Lets jsonschema build its grammar of international addresses when one is checked, not before.

`rfc3987_syntax` compiles that grammar (Lark, over a second) when it is imported, and jsonschema
imports it, for Great Expectations and for CycloneDX's validator. What is checked stays the same.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

NAME = "rfc3987_syntax"


def build_late() -> None:
    """Stand in for the module until it is asked; where it was imported already, leave it."""
    if NAME in sys.modules:
        return
    stand_in = ModuleType(NAME, "Imported when it is asked.")
    stand_in.is_valid_syntax = _is_valid_syntax  # type: ignore[attr-defined]
    sys.modules[NAME] = stand_in
    try:
        importlib.import_module("jsonschema")
    finally:
        # Whoever imports it by name gets the real one.
        del sys.modules[NAME]


def _is_valid_syntax(term: str, value: str) -> bool:
    return bool(importlib.import_module(NAME).is_valid_syntax(term, value))
