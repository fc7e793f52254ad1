"""What the gateway counted, kept beyond the servers and processes that HAProxy counted it for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.gateway.admin import Counts
from mlops_pipelines.release.targets.target import Traffic
from mlops_pipelines.store import write_atomically


class Ledger:
    """The totals of one model in `file`, by version; they never fall while a version is there."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            said: dict[str, Any] = json.loads(file.read_bytes())
        except FileNotFoundError:
            said = {}
        except (OSError, ValueError) as error:
            raise TargetError(f"{file} cannot be read: {error}; remove it") from error
        self._seen: dict[str, list[Any]] = said.get("seen", {})
        self._totals: dict[str, list[float]] = said.get("totals", {})

    def errors_since(self, counts: Mapping[str, Counts]) -> dict[str, int]:
        """How many answers of each server were errors since the last time."""
        found = {}
        for name, count in counts.items():
            _, answers, errors, _ = self._seen.get(name, [None, 0, 0, 0])
            anew = count.answers < answers or count.errors < errors
            found[name] = count.errors - (0 if anew else errors)
        return found

    def note(self, versions: Mapping[str, int], counts: Mapping[str, Counts]) -> None:
        """Add what was counted since the last time; `versions` are of the servers now wanted.

        HAProxy sums up no times: each answer since the last time counts as the mean of the latest.
        """
        for name, count in counts.items():
            known = self._seen.get(name, [versions.get(name), 0, 0, 0])
            version = versions.get(name, known[0])
            if version is None:
                continue
            now = [count.answers, count.errors, count.failed]
            # A server that counts from the beginning again was added or loaded anew.
            anew = any(a < b for a, b in zip(now, known[1:], strict=True))
            before = [0, 0, 0] if anew else known[1:]
            answers, errors, failed = (a - b for a, b in zip(now, before, strict=True))
            total = self._totals.setdefault(str(version), [0, 0, 0.0])
            total[0] += answers + failed
            total[1] += errors + failed
            total[2] += answers * count.seconds
            self._seen[name] = [version, *now]
        there = {str(version) for version in versions.values()}
        self._seen = {name: seen for name, seen in self._seen.items() if name in counts}
        kept = there | {str(seen[0]) for seen in self._seen.values()}
        self._totals = {version: t for version, t in self._totals.items() if version in kept}
        content = json.dumps({"seen": self._seen, "totals": self._totals})
        try:
            write_atomically(self._file, content.encode())
        except OSError as error:
            raise TargetError(f"{self._file} cannot be written: {error.strerror}") from error

    def totals(self) -> dict[int, Traffic]:
        """By version."""
        return {
            int(version): Traffic(int(requests), int(errors), seconds)
            for version, (requests, errors, seconds) in self._totals.items()
        }
