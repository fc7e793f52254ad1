"""The pod that answers for a version: one container, locked down, with its log on a shared claim.

The contract of the image is release/images/version_image.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops_pipelines.release.targets.kubernetes.served import Served
from mlops_pipelines.serve.tokens import VARIABLE

if TYPE_CHECKING:
    from kubernetes import client as k8s

PORT = 8080
USER = 65532
LOG_CLAIM = "mlops-log"
"""The claim of a namespace that holds every model's prediction log; see `log_path`."""
TOKENS_SECRET = "mlops-serve-tokens"  # noqa: S105 (a secret's name)

LEAVE_SECONDS = 5
"""A pod that is told to end takes requests for so long: until no proxy sends it any."""
GRACE_SECONDS = 50
"""LEAVE_SECONDS, then what the server needs at most to finish what is in flight."""


def log_path(model: str) -> str:
    """Where the log of `model` lies on the claim, as it does under the target's home.

    All replicas of all models write to one claim, each to a file of its own, so that no row is lost
    with a pod or a node, and the nightly evaluation reads one folder. The claim must be
    ReadWriteMany, on a file system that passes locks on between machines (NFS 4, CephFS).
    """
    return f"{model}/log"


def pod_template(served: Served, environment: Mapping[str, str]) -> k8s.V1PodTemplateSpec:
    """The pods of a version; it meets the `restricted` pod security standard.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    from kubernetes import client as k8s

    scraped = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
    }
    claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=LOG_CLAIM)
    return k8s.V1PodTemplateSpec(
        metadata=k8s.V1ObjectMeta(
            labels=served.labels, annotations={**served.annotations, **scraped}
        ),
        spec=k8s.V1PodSpec(
            automount_service_account_token=False,
            enable_service_links=False,
            termination_grace_period_seconds=GRACE_SECONDS,
            security_context=k8s.V1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=USER,
                run_as_group=USER,
                fs_group=USER,
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
            ),
            topology_spread_constraints=[
                _spread(served, key)
                for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
            ],
            containers=[_container(served, environment)],
            volumes=[
                k8s.V1Volume(name="log", persistent_volume_claim=claim),
                k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="256Mi")),
            ],
        ),
    )


def _container(served: Served, environment: Mapping[str, str]) -> k8s.V1Container:
    from kubernetes import client as k8s

    needs = {
        "cpu": f"{max(1, round(served.release.resources.cpus * 1000))}m",
        "memory": f"{served.release.resources.memory_mb}Mi",
    }
    tokens = k8s.V1SecretKeySelector(name=TOKENS_SECRET, key="tokens", optional=True)
    sleep = k8s.V1SleepAction(seconds=LEAVE_SECONDS)
    return k8s.V1Container(
        name="model",
        image=served.image,
        image_pull_policy="IfNotPresent",
        ports=[k8s.V1ContainerPort(name="http", container_port=PORT, protocol="TCP")],
        env=[
            *(k8s.V1EnvVar(name=key, value=environment[key]) for key in sorted(environment)),
            k8s.V1EnvVar(name=VARIABLE, value_from=k8s.V1EnvVarSource(secret_key_ref=tokens)),
        ],
        resources=k8s.V1ResourceRequirements(requests=needs, limits=needs),
        # A model that disagrees with its golden rows is not ready, and no restart would mend it.
        startup_probe=_probe("/health/live", period=1, failures=120),
        liveness_probe=_probe("/health/live", period=10, failures=3),
        readiness_probe=_probe("/health/ready", period=2, failures=2),
        lifecycle=k8s.V1Lifecycle(pre_stop=k8s.V1LifecycleHandler(sleep=sleep)),
        # The reason why a server ended is then on its pod, where the release looks for it.
        termination_message_policy="FallbackToLogsOnError",
        security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            privileged=False,
            read_only_root_filesystem=True,
            run_as_non_root=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[
            k8s.V1VolumeMount(name="log", mount_path="/log", sub_path=log_path(served.model)),
            k8s.V1VolumeMount(name="tmp", mount_path="/tmp"),  # noqa: S108 (the container's own)
        ],
    )


def _probe(path: str, period: int, failures: int) -> k8s.V1Probe:
    from kubernetes import client as k8s

    return k8s.V1Probe(
        http_get=k8s.V1HTTPGetAction(path=path, port="http"),
        period_seconds=period,
        timeout_seconds=2,
        failure_threshold=failures,
    )


def _spread(served: Served, topology: str) -> k8s.V1TopologySpreadConstraint:
    from kubernetes import client as k8s

    return k8s.V1TopologySpreadConstraint(
        max_skew=1,
        topology_key=topology,
        when_unsatisfiable="ScheduleAnyway",
        label_selector=k8s.V1LabelSelector(match_labels=served.selector),
    )
