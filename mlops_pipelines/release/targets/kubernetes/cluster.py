"""Asks the API server of a cluster, and says in one line what it answered where that is no."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlops_pipelines.errors import TargetError
from mlops_pipelines.release.targets.kubernetes.pod import PORT
from mlops_pipelines.release.targets.kubernetes.served import MANAGER

TIMEOUT = (3.0, 20.0)
"""Seconds to connect, and to wait for an answer."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

_APIS = {
    "Deployment": ("AppsV1Api", "deployment"),
    "HorizontalPodAutoscaler": ("AutoscalingV2Api", "horizontal_pod_autoscaler"),
    "NetworkPolicy": ("NetworkingV1Api", "network_policy"),
    "PersistentVolumeClaim": ("CoreV1Api", "persistent_volume_claim"),
    "Pod": ("CoreV1Api", "pod"),
    "PodDisruptionBudget": ("PolicyV1Api", "pod_disruption_budget"),
    "Service": ("CoreV1Api", "service"),
}
_HINTS = {
    401: "renew the credentials of the kubeconfig",
    403: "let its role do that in this namespace",
    404: "make it, or choose another namespace",
    409: "someone else changed it at this moment; try again",
    429: "the cluster is overloaded; try again",
}


class Cluster:
    """One namespace of the cluster that the kubeconfig's `context` names (None: its current one).

    Without a kubeconfig, the cluster that this process runs in. Every method raises TargetError.
    """

    def __init__(self, namespace: str, context: str | None) -> None:
        self.namespace = namespace
        self._client = _connect(context)

    def apply(self, rendered: Any) -> None:
        """Make an object be as rendered (server-side apply); asked again, nothing changes."""
        with self._told(f"apply {rendered.kind} {rendered.metadata.name}"):
            self._call(
                "patch",
                rendered.kind,
                rendered.metadata.name,
                self._client.sanitize_for_serialization(rendered),
                field_manager=MANAGER,
                force=True,
                _content_type=APPLY,
            )

    def find(self, kind: str, name: str) -> Any | None:
        """The object of this name, None where there is none."""
        from kubernetes import client as k8s

        with self._told(f"read {kind} {name}"):
            try:
                return self._call("read", kind, name)
            except k8s.ApiException as error:
                if error.status == 404:
                    return None
                raise

    def listed(self, kind: str, labels: Mapping[str, str]) -> list[Any]:
        """The objects that have all these labels, by name."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        with self._told(f"list objects of kind {kind}"):
            found = self._call("list", kind, label_selector=selector).items
        return sorted(found, key=lambda each: str(each.metadata.name))

    def delete(self, kind: str, name: str) -> None:
        """Let an object go, with what it owns; one that is gone already is no error."""
        from kubernetes import client as k8s

        with self._told(f"delete {kind} {name}"):
            try:
                self._call("delete", kind, name, propagation_policy="Background")
            except k8s.ApiException as error:
                if error.status != 404:
                    raise

    def scale(self, deployment: str, replicas: int) -> None:
        """Want so many pods of a Deployment."""
        body = {"spec": {"replicas": replicas}}
        with self._told(f"scale Deployment {deployment}"):
            self._call("patch", "Deployment", deployment, body, what="_scale", _content_type=MERGE)

    def metrics_page(self, pod: str) -> str:
        """What a pod says on /metrics, asked for by way of the API server."""
        from kubernetes import client as k8s

        with self._told(f"ask pod {pod} for its metrics"):
            return str(
                k8s.CoreV1Api(self._client).connect_get_namespaced_pod_proxy_with_path(
                    f"{pod}:{PORT}", self.namespace, "metrics", _request_timeout=TIMEOUT
                )
            )

    def _call(self, verb: str, kind: str, *arguments: Any, what: str = "", **said: Any) -> Any:
        from kubernetes import client as k8s

        api, suffix = _APIS[kind]
        method = getattr(getattr(k8s, api)(self._client), f"{verb}_namespaced_{suffix}{what}")
        named = (*arguments[:1], self.namespace, *arguments[1:])
        return method(*named, _request_timeout=TIMEOUT, **said)

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """Turn what the client raises into one line."""
        from kubernetes import client as k8s
        from pydantic import ValidationError
        from urllib3.exceptions import HTTPError

        where = self._client.configuration.host
        try:
            yield
        except k8s.ApiException as error:
            hint = _HINTS.get(error.status or 0, "see what the cluster says of it")
            raise TargetError(
                f"the cluster at {where} refuses to {doing}: {_reason(error)}; {hint}"
            ) from error
        except HTTPError as error:
            raise TargetError(
                f"the cluster at {where} does not answer ({type(error).__name__}), so nobody "
                f"could {doing}; bring it back, or choose another context of the kubeconfig"
            ) from error
        except ValidationError as error:
            first = ".".join(map(str, error.errors()[0]["loc"]))
            raise TargetError(
                f"the cluster at {where} gave no answer of the Kubernetes API when asked to "
                f"{doing} (at {first or 'its start'}); is it one?"
            ) from error


def _connect(context: str | None) -> Any:
    from kubernetes import client as k8s
    from kubernetes import config
    from urllib3.exceptions import LocationParseError

    settings = k8s.Configuration()
    # The client reads the variable when it is imported, which may be long before it is set.
    named = os.environ.get("KUBECONFIG")
    inside = "KUBERNETES_SERVICE_HOST" in os.environ and not named and context is None
    try:
        if inside:
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(named, context, settings)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, ValueError, LocationParseError) as error:
        wanted = f"context {context}" if context else "the current context"
        raise TargetError(
            f"no cluster: {wanted} of the kubeconfig cannot be used: "
            f"{' '.join(str(error).split())}; set KUBECONFIG, or target.context of the environment"
        ) from error
    settings.retries = False
    return k8s.ApiClient(settings)


def _reason(error: Any) -> str:
    """What the API server says in its Status: https://kubernetes.io/docs/reference/ (Status)."""
    try:
        message = str(json.loads(error.body)["message"])
    except (ValueError, TypeError, KeyError):
        message = str(error.reason)
    return f"{error.status} {' '.join(message.split())[:400]}"
