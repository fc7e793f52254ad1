"""Waits until the pods of a version answer, and says why they do not."""

from __future__ import annotations

import time
from typing import Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.targets.kubernetes.cluster import Cluster
from mlops_pipelines.release.targets.kubernetes.served import INSTANCE

POLL_SECONDS = 0.5
HOPELESS = (
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
)
"""Why a container waits that waits for nothing: the node has tried, and tried again."""


def await_ready(cluster: Cluster, deployment: str, replicas: int, seconds: float) -> None:
    """Return once so many pods of the Deployment are ready: their golden rows were answered.

    Raises TargetError after `seconds`, and at once where waiting is in vain.
    """
    deadline = time.monotonic() + seconds
    while True:
        pods = [pod for pod in cluster.listed("Pod", {INSTANCE: deployment}) if lives(pod)]
        if sum(map(is_ready, pods)) >= replicas:
            return
        for pod in pods:
            if _waits_for(pod) in HOPELESS:
                raise TargetError(
                    f"{_why_not(pod)}; see `kubectl describe pod {pod.metadata.name}`"
                )
        if time.monotonic() > deadline:
            ready = sum(map(is_ready, pods))
            late = next((_why_not(pod) for pod in pods if not is_ready(pod)), "no pod was started")
            raise TargetError(
                f"{ready} of {replicas} pods were ready after {seconds:g} s: {late}; "
                f"see `kubectl describe deployment {deployment}`"
            )
        time.sleep(min(POLL_SECONDS, seconds / 10))


def lives(pod: Any) -> bool:
    """Whether a pod runs or is about to, and was not told to end."""
    return pod.metadata.deletion_timestamp is None and pod.status.phase in ("Pending", "Running")


def is_ready(pod: Any) -> bool:
    """Whether a pod takes traffic."""
    conditions = pod.status.conditions or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


def _waits_for(pod: Any) -> str:
    states = [status.state for status in pod.status.container_statuses or []]
    return next((str(s.waiting.reason) for s in states if s is not None and s.waiting), "")


def _why_not(pod: Any) -> str:
    """What keeps a pod from being ready, in the words of its node or of the server's last line."""
    name = pod.metadata.name
    for status in pod.status.container_statuses or []:
        ended = (status.last_state and status.last_state.terminated) or (
            status.state and status.state.terminated
        )
        if ended:
            last = _one_line(ended.message) or ended.reason or "no message"
            return f"pod {name} ended with exit code {ended.exit_code}: {last}"
        if status.state and status.state.waiting:
            waiting = status.state.waiting
            said = _one_line(waiting.message)
            return f"pod {name}: {waiting.reason}{f': {said}' if said else ''}"
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"pod {name} has no node: {_one_line(condition.message)}"
    return f"pod {name} runs, and /health/ready does not say that it is ready"


def _one_line(text: str | None) -> str:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return " / ".join(lines[-4:])[-400:]
