"""Identifiers of predictions, requests and errors."""

from __future__ import annotations

import os
import time

_POOL_BYTES = 10 * 256


class _Random:
    """Random bits from the system, fetched many at a time: each fetch is a system call."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def next(self) -> int:
        """80 bits."""
        if self._at == len(self._pool):
            self._pool, self._at = os.urandom(_POOL_BYTES), 0
        self._at += 10
        return int.from_bytes(self._pool[self._at - 10 : self._at])


_random = _Random()


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562, 5.7): sorts by the millisecond it was made in."""
    bits = _random.next()
    digits = (
        f"{(time.time_ns() // 1_000_000) << 16 | 0x7000 | bits >> 68:016x}"
        f"{0b10 << 62 | bits & 0x3FFF_FFFF_FFFF_FFFF:016x}"
    )
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
