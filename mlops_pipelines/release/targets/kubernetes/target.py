"""Bundles run as pods of a Kubernetes cluster, behind one Service per model."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from mlops_pipelines import environment
from mlops_pipelines.errors import TargetError
from mlops_pipelines.logs import step
from mlops_pipelines.release.signing import check, verify_environment
from mlops_pipelines.release.targets.held import held
from mlops_pipelines.release.targets.kubernetes.cluster import Cluster
from mlops_pipelines.release.targets.kubernetes.pod import GRACE_SECONDS, LOG_CLAIM, log_path
from mlops_pipelines.release.targets.kubernetes.ready import await_ready, is_ready, lives
from mlops_pipelines.release.targets.kubernetes.render import service_object, version_objects
from mlops_pipelines.release.targets.kubernetes.served import (
    BUNDLE,
    INSTANCE,
    MANAGED_BY,
    MANAGER,
    VERSION,
    Served,
    dns_name,
    of_model,
    served,
)
from mlops_pipelines.release.targets.scrape import Sample, samples
from mlops_pipelines.release.targets.target import Replica, Service, Usage
from mlops_pipelines.release_spec import Release

READY_SECONDS = 300.0
"""How long new pods may take: a node may have to pull the image first."""

logger = logging.getLogger(__name__)

OF_A_VERSION = ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment", "NetworkPolicy")


class KubernetesTarget:
    """The pods of all models in one namespace.

    `home` is where the claim `mlops-log` is mounted here: the pods write their logs below it.
    `releases` says, by model, what its declaration says of releases.
    """

    kind: Literal["kubernetes"] = "kubernetes"

    def __init__(
        self,
        home: Path,
        settings: environment.KubernetesTarget,
        releases: Mapping[str, Release],
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._home = home.absolute()
        self._settings = settings
        self._releases = releases
        self._ready_seconds = ready_seconds

    def lock(self, model: str, who: str) -> AbstractContextManager[None]:
        """Held by one release of the model at a time; raises BusyError naming who holds it."""
        return held(self.state_dir(model) / "lock", model, who)

    def state_dir(self, model: str) -> Path:
        """The folder for what must be remembered of the model's rollouts."""
        return self._home / model

    def log_dir(self, model: str) -> Path:
        """Where the pods write the prediction log, as it is seen from here."""
        return self._home / log_path(model)

    def service(self, model: str) -> Service | None:
        """What runs now; None where nothing does and nothing is wanted."""
        with self._asking(model) as cluster:
            return self._described(cluster, model)

    def switch(self, model: str, bundle: Path, replicas: int, port: int | None = None) -> Service:
        """Give all traffic of `model` to `replicas` pods of `bundle`, whose image must be there.

        They are started beside the old ones and must be ready; only then the Service is told to
        choose them. Asked again, nothing happens. Raises TargetError, and then the old ones serve
        on, and BusyError.
        """
        check(bundle)
        new = served(bundle, self._settings, self._releases.get(model, Release()))
        with self.lock(model, "switch"), self._asking(model) as cluster:
            self.tidy(model)
            self._need_log(cluster, model)
            old = self._chosen(cluster, model)
            with self._taken_back(cluster, new, old):
                for rendered in version_objects(new, cluster.namespace, replicas, _inherited()):
                    cluster.apply(rendered)
                with step(logger, "pods_ready", model=model, replicas=replicas):
                    await_ready(cluster, new.instance, replicas, self._ready_seconds)
                cluster.apply(service_object(new, cluster.namespace, port))
            try:
                self.tidy(model)
            except TargetError as error:
                logger.warning("%s; what served before is removed by the next tidy", error)
            return self._running(cluster, model)

    def scale(self, model: str, replicas: int) -> Service:
        """Want `replicas` pods of what serves; the autoscaler goes on from there."""
        with self.lock(model, "scale"), self._asking(model) as cluster:
            self.tidy(model)
            chosen = self._chosen(cluster, model)
            if chosen and cluster.find("Deployment", chosen) is not None:
                cluster.scale(chosen, replicas)
                await_ready(cluster, chosen, replicas, self._ready_seconds)
            return self._running(cluster, model)

    def stop(self, model: str) -> None:
        """End every pod of `model`, once it has answered what is in flight.

        The Service stays, and with it the address.
        """
        with self.lock(model, "stop"), self._asking(model) as cluster:
            for deployment in cluster.listed("Deployment", of_model(model)):
                _remove(cluster, str(deployment.metadata.name))
            deadline = time.monotonic() + GRACE_SECONDS
            while cluster.listed("Pod", of_model(model)) and time.monotonic() < deadline:
                time.sleep(0.5)

    def tidy(self, model: str) -> tuple[str, ...]:
        """Remove the versions that the Service does not choose: killed releases left them."""
        with self.lock(model, "tidy"), self._asking(model) as cluster:
            chosen = self._chosen(cluster, model)
            found = cluster.listed("Deployment", of_model(model))
            left = [each.metadata for each in found if each.metadata.name != chosen]
            for about in left:
                _remove(cluster, str(about.name))
            return tuple(
                f"version {about.labels[VERSION]} ran beside the one that serves; it was removed"
                for about in left
            )

    def metrics(self, model: str) -> dict[str, tuple[Sample, ...]]:
        """What each living pod counts, by its name; one that does not answer is left out."""
        with self._asking(model) as cluster:
            return {
                pod.metadata.name: page
                for pod in self._pods(cluster, model)
                if (page := _page(cluster, pod))
            }

    def usage(self, model: str) -> tuple[Usage, ...]:
        """What each living pod uses, as its server says; a cluster alone would not tell."""
        from kubernetes.utils import parse_quantity

        found = []
        with self._asking(model) as cluster:
            for pod in self._pods(cluster, model):
                said = {sample.name: sample.value for sample in _page(cluster, pod)}
                if "process_cpu_seconds_total" not in said:
                    continue
                limit = pod.spec.containers[0].resources.limits["memory"]
                found.append(
                    Usage(
                        replica=str(pod.metadata.name),
                        version=int(pod.metadata.labels[VERSION]),
                        cpu_seconds=said["process_cpu_seconds_total"],
                        memory_bytes=int(said["process_resident_memory_bytes"]),
                        memory_limit_bytes=int(parse_quantity(limit)),  # type: ignore[no-untyped-call]
                    )
                )
        return tuple(found)

    @contextmanager
    def _asking(self, model: str) -> Iterator[Cluster]:
        """The cluster; what it refuses is said of this model."""
        try:
            yield Cluster(self._settings.namespace, self._settings.context)
        except TargetError as error:
            said = str(error)
            if said.startswith(f"{model}: "):
                raise
            raise TargetError(f"{model}: {said}") from error

    def _need_log(self, cluster: Cluster, model: str) -> None:
        if cluster.find("PersistentVolumeClaim", LOG_CLAIM) is None:
            raise TargetError(
                f"namespace {cluster.namespace} has no claim {LOG_CLAIM}, and the prediction log "
                "would be lost with its pod; make a ReadWriteMany claim of this name, and mount it "
                f"here at {self._home}"
            )
        try:
            self.log_dir(model).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TargetError(
                f"{error.filename} cannot be made: {error.strerror}; mount the claim {LOG_CLAIM} "
                f"at {self._home}, writable"
            ) from error

    def _chosen(self, cluster: Cluster, model: str) -> str:
        """The instance that the model's Service chooses; empty where there is no Service."""
        service = cluster.find("Service", dns_name(model))
        if service is None:
            return ""
        if (service.metadata.labels or {}).get(MANAGED_BY) != MANAGER:
            raise TargetError(
                f"namespace {cluster.namespace} has a Service {dns_name(model)} already, which is "
                "not this product's; rename it, or choose another namespace"
            )
        return str((service.spec.selector or {}).get(INSTANCE, ""))

    def _pods(self, cluster: Cluster, model: str) -> list[Any]:
        return [pod for pod in cluster.listed("Pod", of_model(model)) if lives(pod)]

    def _described(self, cluster: Cluster, model: str) -> Service | None:
        chosen = self._chosen(cluster, model)
        deployment = cluster.find("Deployment", chosen) if chosen else None
        wanted = int(deployment.spec.replicas or 0) if deployment is not None else 0
        pods = self._pods(cluster, model)
        serving = [pod for pod in pods if pod.metadata.labels.get(INSTANCE) == chosen]
        if not serving and not wanted:
            return None
        others = [pod for pod in pods if pod not in serving]
        about = serving[0].metadata if serving else None
        version = int(about.labels[VERSION]) if about else None
        return Service(
            model=model,
            address=self._address(cluster, model),
            version=version,
            bundle=about.annotations[BUNDLE] if about else "",
            replicas=tuple(_replica(pod, "serving") for pod in serving),
            wanted=wanted,
            others=tuple(_replica(pod, "challenger") for pod in others),
            shares={version: 100} if version is not None else {},
        )

    def _running(self, cluster: Cluster, model: str) -> Service:
        service = self._described(cluster, model)
        if service is None or service.version is None:
            raise TargetError("no pod of it lives; release a version")
        return service

    def _address(self, cluster: Cluster, model: str) -> str:
        host = self._settings.host
        if host:
            base = host if "://" in host else f"http://{host}"
            return f"{base.rstrip('/')}/models/{model}"
        service = cluster.find("Service", dns_name(model))
        ports = service.spec.ports if service is not None else []
        port = f":{ports[0].port}" if ports and ports[0].port != 80 else ""
        return f"http://{dns_name(model)}.{cluster.namespace}.svc{port}"

    @contextmanager
    def _taken_back(self, cluster: Cluster, new: Served, old: str) -> Iterator[None]:
        """If the body fails, what it made is removed, unless the Service chooses it."""
        try:
            yield
        except BaseException as error:
            chosen = None
            # Where the cluster is out of reach nobody knows, and nothing may be removed.
            with suppress(TargetError):
                chosen = self._chosen(cluster, new.model)
                if chosen != new.instance:
                    _remove(cluster, new.instance)
            if isinstance(error, TargetError):
                end = "traffic did not move"
                if chosen != old:
                    end = "whether traffic moved is not known; `mlops status` tells"
                raise TargetError(f"version {new.version}: {error}; {end}") from error
            raise


def _inherited() -> dict[str, str]:
    """What a server inherits: the public key itself, for the file that names it is not there."""
    found = verify_environment()
    return {
        name: said if said.startswith("-----") else Path(said).read_text("ascii")
        for name, said in found.items()
    }


def _remove(cluster: Cluster, instance: str) -> None:
    for kind in OF_A_VERSION:
        cluster.delete(kind, instance)


def _page(cluster: Cluster, pod: Any) -> tuple[Sample, ...]:
    try:
        return samples(cluster.metrics_page(str(pod.metadata.name)))
    except TargetError:
        return ()


def _replica(pod: Any, role: Literal["serving", "challenger"]) -> Replica:
    labels, annotations = pod.metadata.labels, pod.metadata.annotations
    return Replica(
        str(pod.metadata.name), int(labels[VERSION]), annotations[BUNDLE], role, is_ready(pod)
    )
