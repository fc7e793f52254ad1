"""What a running HAProxy is told, so that it does what is wanted."""

from __future__ import annotations

import re

from mlops_pipelines.release.gateway.admin import Running
from mlops_pipelines.release.gateway.render import server_arguments
from mlops_pipelines.release.gateway.state import Entry

_SHARE = re.compile(r" weight \d+| disabled$")


def only_shares(before: str, after: str) -> bool:
    """Whether a configuration says nothing that the one `before` did not, but for shares.

    What HAProxy took once with other shares it takes again.
    """

    def lines(text: str) -> set[str]:
        return {_SHARE.sub("", line) for line in text.splitlines()}

    return lines(after) <= lines(before)


def added(backend: str, entry: Entry, now: Running | None) -> list[str]:
    """Commands that add a server which HAProxy has not `now`."""
    if now is not None:
        return []
    name = f"{backend}/{entry.name}"
    return [f"add server {name} {server_arguments(entry)}", f"enable health {name}"]


def changes(backend: str, entry: Entry, now: Running | None) -> list[tuple[int, str]]:
    """Commands that make a server what it should be, each with its place among all."""
    name = f"set server {backend}/{entry.name}"
    if now is None:
        return [(1, f"{name} state ready")] if entry.enabled else []
    found = []
    if (now.address, now.port) != (entry.server.address, entry.server.port):
        found.append((0, f"{name} addr {entry.server.address} port {entry.server.port}"))
    if now.weight != entry.weight:
        grows = entry.weight > now.weight
        found.append((1 if grows else 2, f"{name} weight {entry.weight}"))
    resting = now.maintenance or now.drain
    if entry.enabled and resting:
        # From maintenance it comes back healthy, whatever it was before.
        found += [] if now.up or now.maintenance else [(0, f"{name} state maint")]
        found.append((1, f"{name} state ready"))
    elif not entry.enabled and not resting:
        found.append((3, f"{name} state drain"))
    return found
