"""The part of requirements.lock that the product needs: without what only its developers do.

The lock says in a comment under each package who asked for it, which is where this reads it.
"""

from __future__ import annotations

import re

PRODUCT = "mlops-pipelines (pyproject.toml)"
"""As `uv pip compile` names what pyproject.toml asks for outside of its groups."""


def product_lock(lock: str) -> str:
    """The lines of `lock` without the packages that nothing in the product asked for.

    Raises ValueError where the lock does not say who asked.
    """
    starts = [match.start() for match in re.finditer(r"^[A-Za-z0-9]", lock, re.MULTILINE)]
    blocks = [lock[start:end] for start, end in zip(starts, [*starts[1:], len(lock)], strict=True)]
    asked = [(_name(block), _asked_by(block)) for block in blocks]
    needed = {name for name, by in asked if PRODUCT in by}
    if not needed:
        raise ValueError(f"it says of no package '# via {PRODUCT}'; make it with: make lock")
    while more := {name for name, by in asked if by & needed} - needed:
        needed |= more
    return "".join(block for block in blocks if _name(block) in needed)


def _name(block: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", block, maxsplit=1)[0]


def _asked_by(block: str) -> set[str]:
    comment = block.partition("# via")[2]
    return {line.lstrip(" #").strip() for line in comment.splitlines()} - {""}
