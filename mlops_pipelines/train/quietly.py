"""Silence for libraries whose own warnings nobody here can act on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Ignore the warnings of what is imported and called inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
