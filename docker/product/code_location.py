"""Starts Dagster's code location, and says how its runs are started: as this container was.

A run gets the image, the network, the mounts, the user and the environment of this container,
whatever compose.yaml or a file on top of it says they are.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any


def context(container: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """Dagster's `container_context` for a twin of `container`, as the engine describes them.

    Variables go by name: their values are those of the daemon that starts the run.
    """
    host, config = container["HostConfig"], container["Config"]
    built_in = set(image["Config"]["Env"] or ())
    names = [each.partition("=")[0] for each in config["Env"] if each not in built_in]
    return {
        "docker": {
            "env_vars": sorted(names),
            "networks": sorted(container["NetworkSettings"]["Networks"]),
            "container_kwargs": {
                "auto_remove": True,
                "user": config["User"],
                "group_add": host["GroupAdd"] or [],
                "cap_drop": host["CapDrop"] or [],
                "security_opt": host["SecurityOpt"] or [],
                "volumes": [_volume(each) for each in container["Mounts"]],
                "labels": {"mlops.role": "run"},
            },
        }
    }


def _volume(mount: dict[str, Any]) -> str:
    source = mount["Name"] if mount["Type"] == "volume" else mount["Source"]
    return f"{source}:{mount['Destination']}:{'rw' if mount['RW'] else 'ro'}"


def main() -> None:
    """Become Dagster's code server."""
    import docker

    engine = docker.from_env().api
    this = engine.inspect_container(socket.gethostname())
    os.environ["DAGSTER_CONTAINER_IMAGE"] = this["Config"]["Image"]
    os.environ["DAGSTER_CONTAINER_CONTEXT"] = json.dumps(
        context(this, engine.inspect_image(this["Image"]))
    )
    where = ["--host", "0.0.0.0", "--port", "4000"]  # noqa: S104 (of the container)
    module = ["--module-name", "mlops_pipelines.definitions", "--location-name", "mlops_pipelines"]
    os.execvp("dagster", ["dagster", "code-server", "start", *where, *module])  # noqa: S606


if __name__ == "__main__":
    main()
