"""Asks and tells a running HAProxy over its admin socket.

https://docs.haproxy.org/2.6/management.html#9.3
"""

from __future__ import annotations

import csv
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines.errors import TargetError

SECONDS = 5.0
MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20
"""Bits of `srv_admin_state`: forced, inherited, by configuration, without an address."""
DRAIN = 0x08 | 0x10


@dataclass(frozen=True)
class Running:
    """A server as HAProxy has it now; `up` is its health, `down` since it failed."""

    name: str
    address: str
    port: int
    weight: int
    up: bool
    maintenance: bool
    drain: bool


@dataclass(frozen=True)
class Counts:
    """What HAProxy counted of a server since it was added.

    `failed` are requests that got no answer, those sent on to another server too; `seconds` is
    the mean over its last 1,024 answers, from queue to answer; `current` requests are under way.
    """

    name: str
    answers: int
    errors: int
    failed: int
    seconds: float
    current: int


class Admin:
    """The admin socket `path`; each method raises TargetError where nobody answers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, commands: Sequence[str]) -> list[str]:
        """What HAProxy answers to each command; nothing means done."""
        return [self._exchange(command) for command in commands]

    def at_once(self, commands: Sequence[str]) -> str:
        """Several commands in one go, so that no other caller's come between them."""
        return self._exchange("; ".join(commands)) if commands else ""

    def servers(self, backend: str) -> dict[str, Running] | None:
        """The servers of a backend by name; None where there is no such backend."""
        said = self._exchange(f"show servers state {backend}").splitlines()
        if len(said) < 2 or not said[1].startswith("#"):
            return None
        names = said[1].removeprefix("# ").split()
        rows = [dict(zip(names, line.split(), strict=False)) for line in said[2:] if line.strip()]
        return {row["srv_name"]: _running(row) for row in rows}

    def counts(self, backend: str) -> dict[str, Counts]:
        """What was counted, by server."""
        said = self._exchange(f"show stat {backend} 4 -1").removeprefix("# ")
        rows = csv.DictReader(said.strip().splitlines())
        return {row["svname"]: _counts(row) for row in rows}

    def looked_up(self, file: str, key: str) -> str | None:
        """What the map `file` holds for `key`; None where it has no such key."""
        for line in self._exchange(f"show map {file}").splitlines():
            _, name, value = (*line.split(), "", "", "")[:3]
            if name == key:
                return value
        return None

    def process(self) -> dict[str, str]:
        """What HAProxy says of itself: Pid, Version and so on."""
        pairs = (line.partition(": ") for line in self._exchange("show info").splitlines())
        return {name: value for name, _, value in pairs}

    def _exchange(self, command: str) -> str:
        if "\n" in command:
            raise TargetError("a command to the gateway must be one line")
        try:
            # A socket's path may have 107 bytes; the folder's own descriptor makes it short.
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.settimeout(SECONDS)
                    connection.connect(f"/proc/self/fd/{folder}/{self._path.name}")
                    connection.sendall(command.encode() + b"\n")
                    parts = []
                    while part := connection.recv(1 << 16):
                        parts.append(part)
            finally:
                os.close(folder)
        except OSError as error:
            raise TargetError(
                f"the gateway does not answer on {self._path}: {error.strerror or error}"
            ) from error
        return b"".join(parts).decode()


def _running(row: dict[str, str]) -> Running:
    state, admin = int(row["srv_op_state"]), int(row["srv_admin_state"])
    return Running(
        name=row["srv_name"],
        address=row["srv_addr"],
        port=int(row["srv_port"]),
        weight=int(row["srv_uweight"]),
        up=state >= 1,
        maintenance=bool(admin & MAINTENANCE),
        drain=bool(admin & DRAIN),
    )


def _counts(row: dict[str, str]) -> Counts:
    def number(name: str) -> int:
        return int(row.get(name) or 0)

    answers = sum(number(f"hrsp_{kind}") for kind in ("1xx", "2xx", "3xx", "4xx", "5xx", "other"))
    return Counts(
        name=row["svname"],
        answers=answers,
        errors=number("hrsp_5xx"),
        failed=number("wretr") + number("econ") + number("eresp"),
        seconds=(number("qtime") + number("ctime") + number("rtime")) / 1000,
        current=number("scur") + number("qcur"),
    )
