"""What containers use, as the engine counts it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mlops_pipelines.release.targets.docker.replicas import Found
from mlops_pipelines.release.targets.target import Usage

if TYPE_CHECKING:
    import docker


def usage(client: docker.DockerClient, found: Sequence[Found]) -> tuple[Usage, ...]:
    """Of every running replica; one that has just ended is left out. All are asked at once."""
    running = [one for one in found if one.runs]
    with ThreadPoolExecutor(max(1, min(16, len(running)))) as pool:
        said = pool.map(lambda one: _of(client, one), running)
        return tuple(one for one in said if one is not None)


def _of(client: docker.DockerClient, one: Found) -> Usage | None:
    import docker
    import requests

    try:
        said = client.api.stats(one.id, stream=False, one_shot=True)
    except (docker.errors.APIError, requests.exceptions.RequestException):
        return None
    memory = said.get("memory_stats", {})
    if "usage" not in memory:
        return None
    about = memory.get("stats", {})
    # The file cache can be taken back; cgroup v1 and v2 name it differently.
    cache = about.get("inactive_file", about.get("total_inactive_file", 0))
    networks = said.get("networks", {}).values()
    disk = said.get("blkio_stats", {}).get("io_service_bytes_recursive")
    return Usage(
        replica=one.name,
        version=one.about.version,
        cpu_seconds=said["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory_bytes=max(0, memory["usage"] - cache),
        memory_limit_bytes=memory.get("limit"),
        network_received_bytes=sum(each["rx_bytes"] for each in networks),
        network_sent_bytes=sum(each["tx_bytes"] for each in networks),
        disk_read_bytes=_disk(disk, "read"),
        disk_written_bytes=_disk(disk, "write"),
    )


def _disk(counted: list[dict[str, Any]] | None, what: str) -> int | None:
    if counted is None:
        return None
    return sum(each["value"] for each in counted if each["op"].lower() == what)
