"""Releases through the official client, against an API server that is an HTTP server here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_pipelines.errors import BusyError, TargetError
from mlops_pipelines.release.targets.kubernetes.target import KubernetesTarget, _inherited
from mlops_pipelines.release.targets.opening import open_target
from mlops_pipelines.release.targets.target import Target, WeightedTarget
from mlops_pipelines.serve.bundle import read_bundle
from mlops_pipelines.serve.metrics import Metrics
from tests.release.conftest import free_port
from tests.release.kubernetes.api_server import kubeconfig
from tests.release.kubernetes.conftest import MODEL, Place, make_bundle, settings

Bundles = Callable[[int], Path]
OBJECTS = {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"}


def chosen(place: Place) -> str:
    """The version whose pods the Service chooses."""
    selector = place.api.objects["Service", MODEL]["spec"]["selector"]
    return str(selector["app.kubernetes.io/version"])


def present(place: Place) -> dict[str, set[str]]:
    """The kinds of objects that are there, by version."""
    found: dict[str, set[str]] = {}
    for (kind, _), each in place.api.objects.items():
        version = each["metadata"].get("labels", {}).get("app.kubernetes.io/version")
        if version:
            found.setdefault(version, set()).add(kind)
    return found


def test_it_is_a_target_without_weights(place: Place) -> None:
    opened = open_target(settings(), place.home, {})
    assert opened.kind == "kubernetes"
    assert isinstance(opened, KubernetesTarget)
    assert not isinstance(opened, WeightedTarget)
    as_declared: Target = opened
    assert as_declared.service(MODEL) is None
    assert opened.log_dir(MODEL) == place.home / MODEL / "log"


def test_a_switch_is_a_change_of_the_selector(place: Place, bundles: Bundles) -> None:
    first = place.target.switch(MODEL, bundles(1), 2)
    assert (first.version, first.wanted, len(first.replicas)) == (1, 2, 2)
    assert first.address == "http://cancer.models.svc"
    assert all(replica.healthy for replica in first.replicas)
    assert present(place) == {"1": OBJECTS}

    second = place.target.switch(MODEL, bundles(2), 3)
    assert (second.version, second.wanted, second.shares) == (2, 3, {2: 100})
    assert second.bundle == read_bundle(bundles(2)).digest
    assert (second.others, second.standby) == ((), None)
    assert chosen(place) == "2"
    assert present(place) == {"2": OBJECTS}
    assert place.target.service(MODEL) == second


def test_asked_again_nothing_happens(place: Place, bundles: Bundles) -> None:
    first = place.target.switch(MODEL, bundles(1), 2)
    before = place.api.objects["Deployment", "cancer-v1-" + first.bundle[:8]]["spec"]
    assert place.target.switch(MODEL, bundles(1), 2) == first
    assert place.api.objects["Deployment", "cancer-v1-" + first.bundle[:8]]["spec"] == before


def test_the_port_and_the_host_are_in_the_address(
    place: Place, bundles: Bundles, tmp_path: Path
) -> None:
    assert place.target.switch(MODEL, bundles(1), 1, 9000).address.endswith("svc:9000")
    outside = KubernetesTarget(place.home, settings(host="https://models.internal/"), {})
    service = outside.service(MODEL)
    assert service is not None
    assert service.address == "https://models.internal/models/cancer"


STUCK = {
    "image_pull": 'ImagePullBackOff: Back-off pulling image "images.internal/models/cancer"',
    "crash": "ended with exit code 2: mlops_pipelines.serve: /bundle/model.onnx was altered",
    "never": "1 pods were ready after 0.6 s",
    "no_node": "has no node: 0/3 nodes are available: 3 Insufficient memory.",
}


@pytest.mark.parametrize("does", STUCK)
def test_pods_that_do_not_get_ready_are_taken_back(
    place: Place, bundles: Bundles, does: str
) -> None:
    before = place.target.switch(MODEL, bundles(1), 1)
    place.api.node["2"] = does
    with pytest.raises(TargetError) as caught:
        place.target.switch(MODEL, bundles(2), 1)
    told = str(caught.value)
    assert told.startswith("cancer: version 2: ")
    assert told.endswith("; traffic did not move")
    assert STUCK[does] in told
    assert "\n" not in told
    assert (chosen(place), present(place)) == ("1", {"1": OBJECTS})
    assert place.target.service(MODEL) == before


REFUSED = {
    "not allowed": (
        ("PATCH", "Deployment"),
        (403, "Forbidden", 'deployments.apps is forbidden: User "me" cannot patch resource'),
        "refuses to apply Deployment cancer-v2-",
    ),
    "a conflict": (
        ("PATCH", "PodDisruptionBudget"),
        (409, "Conflict", "the object has been modified"),
        "someone else changed it",
    ),
    "a quota": (
        ("PATCH", "HorizontalPodAutoscaler"),
        (403, "Forbidden", "exceeded quota: objects, requested: 1, used: 5, limited: 5"),
        "exceeded quota",
    ),
    "the last step": (
        ("PATCH", "Service"),
        (500, "InternalError", "etcdserver: request timed out"),
        "500 etcdserver: request timed out",
    ),
    "credentials that have expired": (
        ("PATCH", "NetworkPolicy"),
        (401, "Unauthorized", "Unauthorized"),
        "renew the credentials",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_cluster_refuses_leaves_the_old_version(
    place: Place, bundles: Bundles, case: str
) -> None:
    before = place.target.switch(MODEL, bundles(1), 2)
    which, answer, expected = REFUSED[case]
    place.api.refusals[which] = answer
    with pytest.raises(TargetError) as caught:
        place.target.switch(MODEL, bundles(2), 2)
    told = str(caught.value)
    assert expected in told
    assert "\n" not in told
    assert told.endswith("traffic did not move")
    place.api.refusals.clear()
    assert (chosen(place), present(place)) == ("1", {"1": OBJECTS})
    assert place.target.service(MODEL) == before
    assert place.target.switch(MODEL, bundles(2), 2).version == 2


def test_a_change_whose_answer_was_lost_is_not_undone(place: Place, bundles: Bundles) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    place.api.lost = ("PATCH", "Service")
    with pytest.raises(TargetError, match="does not answer .*whether traffic moved is not known"):
        place.target.switch(MODEL, bundles(2), 1)
    place.api.lost = None
    service = place.target.service(MODEL)
    assert service is not None
    assert service.version == 2
    assert len(service.replicas) == 1


def test_old_pods_that_cannot_be_removed_are_removed_later(place: Place, bundles: Bundles) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    place.api.refusals["DELETE", "Deployment"] = (500, "InternalError", "try again")
    service = place.target.switch(MODEL, bundles(2), 1)
    assert (service.version, [one.version for one in service.others]) == (2, [1])
    place.api.refusals.clear()
    [sentence] = place.target.tidy(MODEL)
    assert "version 1" in sentence
    assert present(place) == {"2": OBJECTS}
    assert place.target.tidy(MODEL) == ()


def test_what_a_killed_release_left_is_removed(place: Place, bundles: Bundles) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    before = dict(place.api.objects)
    place.target.switch(MODEL, bundles(2), 1)
    service = before["Service", MODEL]
    place.api.objects.update(before)
    place.api.objects["Service", MODEL] = service
    assert present(place) == {"1": OBJECTS, "2": OBJECTS}
    assert place.target.tidy(MODEL) == ("version 2 ran beside the one that serves; it was removed",)
    assert (chosen(place), present(place)) == ("1", {"1": OBJECTS})


def test_nothing_is_touched_that_is_not_ours(place: Place, bundles: Bundles) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    about = place.api.objects["Service", MODEL]["metadata"]
    about["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    with pytest.raises(TargetError, match="has a Service cancer already"):
        place.target.switch(MODEL, bundles(2), 1)
    assert (chosen(place), present(place)) == ("1", {"1": OBJECTS})


def test_without_a_claim_no_version_starts(place: Place, bundles: Bundles) -> None:
    del place.api.objects["PersistentVolumeClaim", "mlops-log"]
    with pytest.raises(TargetError, match="has no claim mlops-log.*ReadWriteMany"):
        place.target.switch(MODEL, bundles(1), 1)
    assert not place.api.objects


def test_a_bundle_that_was_altered_is_refused(
    place: Place, bundles: Bundles, tmp_path: Path
) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    altered = make_bundle(tmp_path / "altered", 2)
    (altered / "bundle.json").write_text("{}")
    with pytest.raises(TargetError, match="the bundle is refused"):
        place.target.switch(MODEL, altered, 1)
    assert present(place) == {"1": OBJECTS}


def test_scaling_changes_what_is_wanted(place: Place, bundles: Bundles) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    service = place.target.scale(MODEL, 3)
    assert (service.wanted, len(service.replicas)) == (3, 3)
    with pytest.raises(TargetError, match="no pod of it lives"):
        place.target.scale("churn", 2)


def test_stopped_is_stopped_and_keeps_the_address(place: Place, bundles: Bundles) -> None:
    place.target.switch(MODEL, bundles(1), 2)
    place.target.stop(MODEL)
    assert place.target.service(MODEL) is None
    assert {kind for kind, _ in place.api.objects} == {"Service", "PersistentVolumeClaim"}
    assert place.target.switch(MODEL, bundles(1), 1).version == 1


def test_models_do_not_meet(place: Place, bundles: Bundles, tmp_path: Path) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    other = make_bundle(tmp_path / "other", 4, model="cancer_2")
    assert place.target.switch("cancer_2", other, 1).version == 4
    place.target.stop("cancer_2")
    assert present(place) == {"1": OBJECTS}


def test_counts_and_use_are_the_servers_own(place: Place, bundles: Bundles) -> None:
    service = place.target.switch(MODEL, bundles(1), 2)
    counted = Metrics(MODEL, 1, service.bundle)
    counted.request(200, 0.001)
    answering = service.replicas[0].name
    place.api.pages[answering] = counted.render(0, 0, 0)
    pages = place.target.metrics(MODEL)
    assert list(pages) == [answering]
    assert [s.value for s in pages[answering] if s.name == "mlops_requests_total"] == [1]
    [used] = place.target.usage(MODEL)
    assert (used.replica, used.version) == (answering, 1)
    assert used.cpu_seconds > 0
    assert used.memory_bytes > 1 << 20
    assert used.memory_limit_bytes == 512 * 2**20
    assert used.network_sent_bytes is None


def test_the_public_key_goes_along_and_not_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    (tmp_path / "verify.pem").write_text(text)
    assert _inherited() == {}
    for named in (str(tmp_path / "verify.pem"), text):
        monkeypatch.setenv("MLOPS_VERIFY_KEY", named)
        assert _inherited() == {"MLOPS_VERIFY_KEY": text}


def test_what_serves_is_not_removed_when_it_is_asked_for_again(
    place: Place, bundles: Bundles
) -> None:
    place.target.switch(MODEL, bundles(1), 1)
    place.api.node["1"] = "never"
    with pytest.raises(TargetError, match="0 of 1 pods were ready"):
        place.target.switch(MODEL, bundles(1), 1)
    assert (chosen(place), present(place)) == ("1", {"1": OBJECTS})
    service = place.target.service(MODEL)
    assert service is not None
    assert [replica.healthy for replica in service.replicas] == [False]


def test_one_release_at_a_time(place: Place, bundles: Bundles) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with place.target.lock(MODEL, "someone"), ThreadPoolExecutor(1) as pool:
        other = pool.submit(place.target.switch, MODEL, bundles(1), 1)
        with pytest.raises(BusyError, match="someone"):
            other.result()
    assert place.target.service(MODEL) is None


def test_a_cluster_that_is_down_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    file = kubeconfig(tmp_path / "kubeconfig", address)
    monkeypatch.setenv("KUBECONFIG", str(file))
    target = KubernetesTarget(tmp_path / "home", settings(), {})
    with pytest.raises(TargetError) as caught:
        target.service(MODEL)
    assert str(caught.value).startswith(f"cancer: the cluster at {address} does not answer")
    assert "\n" not in str(caught.value)


def test_a_context_that_is_missing_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")))
    target = KubernetesTarget(tmp_path / "home", settings(context="production"), {})
    with pytest.raises(TargetError, match="no cluster: context production .*cannot be used"):
        target.service(MODEL)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(TargetError, match="no cluster: context production .*set KUBECONFIG"):
        target.service(MODEL)


def test_what_is_no_api_server_is_told(place: Place) -> None:
    place.api.garbled = True
    with pytest.raises(TargetError, match="cancer: the cluster at .*") as caught:
        place.target.service(MODEL)
    assert "\n" not in str(caught.value)
