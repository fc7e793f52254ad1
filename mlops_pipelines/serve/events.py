"""The worker's log lines: JSON, without a word of any row, and never so many that they harm."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import orjson

# A flood of bad requests must not fill the disk with lines: so many at once, then one a second.
BURST = 60
EVERY = 1.0

logger = logging.getLogger("mlops_pipelines.serve")


class JsonLines(logging.Formatter):
    """Log records as JSON lines; of an exception only its type, for its text may quote a row."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__()
        self._who = {"model": model, "version": version, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object on one line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
        } | self._who
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        return orjson.dumps(line | getattr(record, "fields", {})).decode()


class Events:
    """What happens to requests; beyond BURST lines only one a second is written."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._since = time.monotonic()
        self._suppressed = 0

    def error(self, event: str, **fields: Any) -> None:
        """A line about something that went wrong here."""
        self._say(logging.ERROR, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """A line about a request that was refused."""
        self._say(logging.WARNING, event, fields)

    def _say(self, level: int, event: str, fields: dict[str, Any]) -> None:
        instant = time.monotonic()
        self._left = min(BURST, self._left + (instant - self._since) / EVERY)
        self._since = instant
        if self._left < 1:
            self._suppressed += 1
            return
        self._left -= 1
        if self._suppressed:
            fields = fields | {"suppressed": self._suppressed}
            self._suppressed = 0
        logger.log(level, event, extra={"fields": fields})
