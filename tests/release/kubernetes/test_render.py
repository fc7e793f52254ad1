"""What a version becomes in a cluster, held against the published schemas."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.release.targets.kubernetes.pod import GRACE_SECONDS, LEAVE_SECONDS
from mlops_pipelines.release.targets.kubernetes.render import (
    manifest,
    plain,
    service_object,
    version_objects,
)
from mlops_pipelines.release.targets.kubernetes.served import Served, dns_name
from mlops_pipelines.release_spec import Release
from tests.release.conftest import cancer_spec
from tests.release.kubernetes.conftest import settings as target_settings
from tests.release.kubernetes.schema import mistakes

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
MODELS = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)


@st.composite
def releases(draw: st.DrawFn) -> Release:
    low = draw(st.integers(1, 64))
    return Release.model_validate(
        {
            "replicas": {"min": low, "max": draw(st.integers(low, 64))},
            "resources": {
                "cpus": draw(st.floats(0.0001, 64)),
                "memory_mb": draw(st.integers(64, 262_144)),
            },
            "scale": {
                "cpu": draw(st.floats(0.001, 1)),
                "cooldown_seconds": draw(st.floats(0, 1e6)),
            },
        }
    )


@st.composite
def versions(draw: st.DrawFn) -> Served:
    model, version = draw(MODELS), draw(st.integers(1, 9_999_999))
    digest = draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
    image = f"images.internal/{model}:{version}-{digest[:12]}"
    lineage = draw(st.dictionaries(st.sampled_from(["snapshot", "git_dirty"]), st.text()))
    return Served(model, version, digest, image, lineage, draw(releases()))


def rendered(served: Served, replicas: int = 2) -> dict[str, dict[str, Any]]:
    objects = version_objects(served, "models", replicas, {"MLOPS_VERIFY_KEY": "-----BEGIN"})
    found = [plain(each) for each in (*objects, service_object(served, "models", None))]
    return {each["kind"]: each for each in found}


@given(versions(), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_every_version_is_what_the_schemas_say(served: Served, replicas: int) -> None:
    objects = rendered(served, replicas)
    assert objects.keys() == {
        "NetworkPolicy",
        "Deployment",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "Service",
    }
    assert [mistakes(each) for each in objects.values()] == [[]] * 5
    for each in objects.values():
        about = each["metadata"]
        assert NAME.fullmatch(about["name"])
        # With what a cluster adds to a pod's name, it is still a host name.
        assert len(about["name"]) + len("-0123456789-01234") <= 63
        assert all(LABEL.fullmatch(value) and len(value) < 64 for value in about["labels"].values())
    scaler = objects["HorizontalPodAutoscaler"]["spec"]
    down = scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
    assert 0 <= down <= 3600
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] >= 1


@given(versions())
@settings(max_examples=20, deadline=None)
def test_all_objects_are_about_the_same_pods(served: Served) -> None:
    objects = rendered(served)
    template = objects["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    for selector in (
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == served.selector
        assert selector.items() <= labels
    scaled = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == objects["Deployment"]["metadata"]["name"]


@settings(deadline=None)
@given(st.sets(MODELS, min_size=2, max_size=2))
def test_no_two_models_share_a_name(models: set[str]) -> None:
    assert len({dns_name(model) for model in models}) == 2


def test_names_that_do_not_fit_are_told_apart() -> None:
    long = "customer_lifetime_value_of_the_"
    names = {
        dns_name(name) for name in (f"{long}north", f"{long}south", "churn", "churn_", "churn__")
    }
    assert len(names) == 5
    assert dns_name("card_fraud") == "card-fraud"


def one(**release: object) -> Served:
    return Served("card_fraud", 7, "ab" * 32, "image", {}, Release.model_validate(release))


def test_pods_meet_the_restricted_standard() -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    pod = rendered(one())["Deployment"]["spec"]["template"]["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {next(iter(v.keys() - {"name"})) for v in pod["volumes"]} <= {
        "persistentVolumeClaim",
        "emptyDir",
    }
    [container] = pod["containers"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert (security["allowPrivilegeEscalation"], security["privileged"]) == (False, False)
    assert security["readOnlyRootFilesystem"] is True
    assert not any("hostPort" in port for port in container["ports"])
    assert pod["automountServiceAccountToken"] is False


def test_probes_ask_what_the_server_answers() -> None:
    from mlops_pipelines.serve import app

    known = Path(app.__file__).read_text("utf-8")
    pod = rendered(one())["Deployment"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    paths = [container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")]
    assert paths == ["/health/live", "/health/ready"]
    paths.append(pod["metadata"]["annotations"]["prometheus.io/path"])
    assert all(f'"{path}"' in known for path in paths)


def test_a_pod_has_time_to_answer_what_is_in_flight() -> None:
    from mlops_pipelines.serve.worker import DRAIN_AT_MOST

    assert GRACE_SECONDS >= LEAVE_SECONDS + DRAIN_AT_MOST + 10
    pod = rendered(one())["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}}


def test_resources_and_bounds_are_the_declarations() -> None:
    found = rendered(
        one(
            resources={"cpus": 0.5, "memory_mb": 768},
            replicas={"min": 2, "max": 5},
            scale={"cpu": 0.6, "cooldown_seconds": 90},
        )
    )
    container = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "500m", "memory": "768Mi"}
    spec = found["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 90


def test_the_network_lets_in_one_port_and_nothing_out() -> None:
    spec = rendered(one())["NetworkPolicy"]["spec"]
    assert spec["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}]
    assert spec["egress"] == []
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_the_manifest_is_yaml_of_every_object(bundles: Callable[[int], Path]) -> None:
    spec = cancer_spec(release={"replicas": {"min": 2, "max": 4}, "port": 9000})
    text = manifest(spec, bundles(3), target_settings())
    documents = {each["kind"]: each for each in yaml.safe_load_all(text)}
    assert len(documents) == 5
    assert all(mistakes(each) == [] for each in documents.values())
    assert documents["Deployment"]["spec"]["replicas"] == 2
    assert documents["Service"]["spec"]["ports"][0]["port"] == 9000
    annotations = documents["Deployment"]["metadata"]["annotations"]
    assert annotations["mlops-pipelines/snapshot"] == "5c3a" * 16
    image = documents["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]
    digest = annotations["mlops-pipelines/bundle"][:12]
    assert image == f"images.internal/models/cancer:3-{digest}"


def test_the_schemas_would_find_mistakes() -> None:
    deployment = rendered(one())["Deployment"]
    del deployment["spec"]["selector"]
    deployment["spec"]["replica"] = 2
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"] = "8080"
    assert len(mistakes(deployment)) == 3
