"""The target that an environment names."""

from __future__ import annotations

from pathlib import Path

from mlops_pipelines import environment
from mlops_pipelines.release.targets.process import ProcessTarget
from mlops_pipelines.release.targets.target import Target


def open_target(settings: environment.Target, home: Path) -> Target:
    """The place where bundles run, as `settings` say; what it remembers lies under `home`."""
    match settings:
        case environment.ProcessTarget():
            return ProcessTarget(home, settings.host, settings.ports)
        case environment.DockerTarget():
            from mlops_pipelines.release.targets.docker.target import DockerTarget

            return DockerTarget(home, settings)
        case environment.KubernetesTarget():
            from mlops_pipelines.release.targets.kubernetes.target import KubernetesTarget

            return KubernetesTarget(home, settings)
