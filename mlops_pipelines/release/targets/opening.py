"""The target that an environment names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlops_pipelines import environment
from mlops_pipelines.release.targets.process import ProcessTarget
from mlops_pipelines.release.targets.target import Target
from mlops_pipelines.release_spec import Release


def open_target(
    settings: environment.Target, home: Path, releases: Mapping[str, Release]
) -> Target:
    """The place where bundles run, as `settings` say; what it remembers lies under `home`.

    `releases` says, by model, what its declaration says of releases.
    """
    match settings:
        case environment.ProcessTarget():
            return ProcessTarget(home, settings.host, settings.ports)
        case environment.DockerTarget():
            from mlops_pipelines.release.targets.docker.target import DockerTarget

            return DockerTarget(home, settings, releases, home.parent / "wheelhouse")
        case environment.KubernetesTarget():
            from mlops_pipelines.release.targets.kubernetes.target import KubernetesTarget

            return KubernetesTarget(home, settings, releases)
