"""Prints where the containers of an environment live, as settings: it is said in resources/ alone.

python docker/place.py PROJECT ENVIRONMENT
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlops_pipelines.environment import DockerTarget, load_environment
from mlops_pipelines.errors import MlopsError


def main(root: str, name: str) -> int:
    """The exit code."""
    try:
        target = load_environment(Path(root), name).target
    except MlopsError as error:
        sys.stderr.write(f"docker/place.py: {error}\n")
        return 1
    if not isinstance(target, DockerTarget):
        sys.stderr.write(
            f"resources/{name}.yaml: target is {target.type}, and in containers it must be docker\n"
        )
        return 1
    gateway = target.gateway
    sys.stdout.write(
        f"MLOPS_NETWORK={target.network}\nGATEWAY_ADDRESS=http://{gateway.host}:{gateway.port}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
