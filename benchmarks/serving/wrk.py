"""Full load by wrk: as many requests as 8 connections get answered."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 8
SCRIPT = Path(__file__).with_name("post.lua")


class LoadError(Exception):
    """The load could not be made or was not answered; `str()` says why, in one line."""


@dataclass(frozen=True)
class Load:
    """Requests that were answered with 2xx within the seconds."""

    requests: int
    seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def wrk_command(url: str, body: Path, seconds: float, *header: str) -> list[str]:
    """wrk with one thread; `header` is one that goes with the body, its name and its value.

    Raises LoadError where wrk is not installed.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadError("wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
    load = ["-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    return [wrk, *load, "-s", str(SCRIPT), url, "--", str(body), *header]


def full_load(url: str, body: Path, seconds: float, *header: str) -> Load:
    """Posts the body in this file for so many seconds. Raises LoadError."""
    done = subprocess.run(wrk_command(url, body, seconds, *header), capture_output=True, text=True)
    return said(done.returncode, done.stdout, done.stderr)


def said(code: int, output: str, errors: str) -> Load:
    """What wrk reported. Raises LoadError where an answer was no 2xx, or was missing."""
    lines = output.strip().splitlines()
    if code or not lines or not lines[-1].startswith("{"):
        raise LoadError(f"wrk failed: {(errors.strip() or output.strip() or str(code))[-200:]}")
    found = json.loads(lines[-1])
    if found["refused"] or found["broken"]:
        raise LoadError(
            f"{found['refused']} of {found['requests']} answers were no 2xx or 3xx, "
            f"{found['broken']} connections broke"
        )
    return Load(found["requests"], found["seconds"])
