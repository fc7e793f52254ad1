"""What a version becomes in a cluster, with the official client's types.

There is one Deployment for each bundle, and one Service for each model, whose selector names the
version that has the traffic: a switch is one change of it. A Service cannot share traffic out by
weight, so a canary is a switch here, as on the process target.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.environment import KubernetesTarget
from mlops_pipelines.release.targets.kubernetes.pod import PORT, pod_template
from mlops_pipelines.release.targets.kubernetes.served import (
    MANAGED_BY,
    MANAGER,
    NAME,
    Served,
    served,
)
from mlops_pipelines.spec import ModelSpec

if TYPE_CHECKING:
    from kubernetes import client as k8s

SERVICE_PORT = 80
LONGEST_COOLDOWN = 3600
"""Seconds; what the API takes at most as a stabilization window."""


def version_objects(
    served: Served, namespace: str, replicas: int, environment: Mapping[str, str]
) -> tuple[Any, ...]:
    """The objects of one version, in the order in which they are applied.

    NetworkPolicy, Deployment, PodDisruptionBudget and HorizontalPodAutoscaler. `environment` is
    what the server inherits.
    """
    return (
        _network_policy(served, namespace),
        _deployment(served, namespace, replicas, environment),
        _disruption_budget(served, namespace),
        _autoscaler(served, namespace),
    )


def service_object(served: Served, namespace: str, port: int | None) -> k8s.V1Service:
    """The stable address of a model, behind which this version answers."""
    from kubernetes import client as k8s

    return k8s.V1Service(
        api_version="v1",
        kind="Service",
        # Its labels name no version: it outlives them all.
        metadata=k8s.V1ObjectMeta(
            name=served.name,
            namespace=namespace,
            labels={NAME: served.name, MANAGED_BY: MANAGER},
            annotations=served.annotations,
        ),
        spec=k8s.V1ServiceSpec(
            type="ClusterIP",
            selector=served.selector,
            ports=[
                k8s.V1ServicePort(
                    name="http", port=port or SERVICE_PORT, target_port="http", protocol="TCP"
                )
            ],
        ),
    )


def manifest(
    spec: ModelSpec,
    bundle: Path,
    settings: KubernetesTarget,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Everything that a version becomes, as YAML for people and for `kubectl apply -f -`.

    `bundle` is the folder of its bundle. Raises TargetError where that cannot be read.
    """
    import yaml

    version = served(bundle, settings, spec.release)
    objects = version_objects(
        version, settings.namespace, spec.release.replicas.min, environment or {}
    )
    service = service_object(version, settings.namespace, spec.release.port)
    found = [plain(each) for each in (*objects, service)]
    return str(yaml.safe_dump_all(found, sort_keys=False, explicit_start=True))


def plain(rendered: Any) -> dict[str, Any]:
    """An object of the client's as JSON has it."""
    from kubernetes import client as k8s

    client = k8s.ApiClient(k8s.Configuration())
    found = client.sanitize_for_serialization(rendered)  # type: ignore[no-untyped-call]
    # The client orders by its own fields; people expect these first.
    first = {key: found[key] for key in ("apiVersion", "kind", "metadata")}
    return first | found


def _about(served: Served, namespace: str) -> k8s.V1ObjectMeta:
    from kubernetes import client as k8s

    return k8s.V1ObjectMeta(
        name=served.instance,
        namespace=namespace,
        labels=served.labels,
        annotations=served.annotations,
    )


def _deployment(
    served: Served, namespace: str, replicas: int, environment: Mapping[str, str]
) -> k8s.V1Deployment:
    from kubernetes import client as k8s

    rolling = k8s.V1RollingUpdateDeployment(max_unavailable=0, max_surge=1)
    return k8s.V1Deployment(
        api_version="apps/v1",
        kind="Deployment",
        metadata=_about(served, namespace),
        spec=k8s.V1DeploymentSpec(
            replicas=replicas,
            revision_history_limit=1,
            strategy=k8s.V1DeploymentStrategy(type="RollingUpdate", rolling_update=rolling),
            selector=k8s.V1LabelSelector(match_labels=served.selector),
            template=pod_template(served, environment),
        ),
    )


def _autoscaler(served: Served, namespace: str) -> k8s.V2HorizontalPodAutoscaler:
    """By CPU alone: requests in flight would need a metrics adapter in the cluster."""
    from kubernetes import client as k8s

    bounds, scale = served.release.replicas, served.release.scale
    busy = k8s.V2MetricTarget(
        type="Utilization", average_utilization=max(1, round(scale.cpu * 100))
    )
    cooldown = min(LONGEST_COOLDOWN, round(scale.cooldown_seconds))
    doubling = k8s.V2HPAScalingPolicy(type="Percent", value=100, period_seconds=15)
    one = k8s.V2HPAScalingPolicy(type="Pods", value=1, period_seconds=60)
    return k8s.V2HorizontalPodAutoscaler(
        api_version="autoscaling/v2",
        kind="HorizontalPodAutoscaler",
        metadata=_about(served, namespace),
        spec=k8s.V2HorizontalPodAutoscalerSpec(
            scale_target_ref=k8s.V2CrossVersionObjectReference(
                api_version="apps/v1", kind="Deployment", name=served.instance
            ),
            min_replicas=bounds.min,
            max_replicas=bounds.max,
            metrics=[
                k8s.V2MetricSpec(
                    type="Resource",
                    resource=k8s.V2ResourceMetricSource(name="cpu", target=busy),
                )
            ],
            behavior=k8s.V2HorizontalPodAutoscalerBehavior(
                scale_up=k8s.V2HPAScalingRules(stabilization_window_seconds=0, policies=[doubling]),
                scale_down=k8s.V2HPAScalingRules(
                    stabilization_window_seconds=cooldown, policies=[one]
                ),
            ),
        ),
    )


def _disruption_budget(served: Served, namespace: str) -> k8s.V1PodDisruptionBudget:
    """One pod may leave at a time: with one replica, `minAvailable` would hold a node for ever."""
    from kubernetes import client as k8s

    return k8s.V1PodDisruptionBudget(
        api_version="policy/v1",
        kind="PodDisruptionBudget",
        metadata=_about(served, namespace),
        spec=k8s.V1PodDisruptionBudgetSpec(
            max_unavailable=1,
            unhealthy_pod_eviction_policy="AlwaysAllow",
            selector=k8s.V1LabelSelector(match_labels=served.selector),
        ),
    )


def _network_policy(served: Served, namespace: str) -> k8s.V1NetworkPolicy:
    """Its port may be asked, and it asks nobody: the claim is mounted by the node, not the pod."""
    from kubernetes import client as k8s

    asked = k8s.V1NetworkPolicyPort(port=PORT, protocol="TCP")
    return k8s.V1NetworkPolicy(
        api_version="networking.k8s.io/v1",
        kind="NetworkPolicy",
        metadata=_about(served, namespace),
        spec=k8s.V1NetworkPolicySpec(
            pod_selector=k8s.V1LabelSelector(match_labels=served.selector),
            policy_types=["Ingress", "Egress"],
            ingress=[k8s.V1NetworkPolicyIngressRule(ports=[asked])],
            egress=[],
        ),
    )
