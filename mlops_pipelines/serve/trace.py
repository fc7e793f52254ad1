"""The trace that a request belongs to, as W3C's `traceparent` names it.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# A later version may append fields, each after a dash; what it begins with stays.
TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
NO_TRACE = b"0" * 32
NO_PARENT = b"0" * 16


def trace_id(headers: Mapping[bytes, bytes]) -> str | None:
    """The 32 hexadecimal digits of the trace; None where no valid `traceparent` was sent."""
    sent = headers.get(b"traceparent")
    if sent is None:
        return None
    match = TRACEPARENT.fullmatch(sent)
    if match is None:
        return None
    version, trace, parent, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if trace == NO_TRACE or parent == NO_PARENT:
        return None
    return trace.decode()
