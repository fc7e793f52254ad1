"""Times as they are written in the log and taken from callers: RFC 3339, UTC, microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

AHEAD = timedelta(minutes=5)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def written(time: datetime) -> str:
    """A UTC time as `2026-01-31T09:30:00.000000Z`."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str, received: datetime) -> datetime:
    """An RFC 3339 time in UTC. Raises ValueError: not one, or 5 minutes after `received`."""
    if not RFC3339.fullmatch(text):
        raise ValueError("expected an RFC 3339 time with an offset, like 2026-01-31T09:30:00Z")
    try:
        time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError("expected an RFC 3339 time; there is no such time") from exc
    if time > received + AHEAD:
        raise ValueError("the time lies more than five minutes in the future")
    return time
