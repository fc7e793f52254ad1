"""The product in containers: brought up, and a model trained, released and asked in it.

The first time on an engine its images are built, which takes minutes; they are kept, by the hash of
what they are made of.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlops_pipelines.release.images.runtime_image import runtime_image
from mlops_pipelines.release.lock import serving_lock
from mlops_pipelines.serve.bundle import ONNX_RUNTIME
from tests.conftest import PROJECT_FILES, ROOT, require
from tests.engine.conftest import WHEELHOUSE, images_of_store, remove_image
from tests.production.services import free_port

if TYPE_CHECKING:
    import docker

MODEL = "breast_cancer"
STACK = ROOT / "docker" / "stack.sh"
RUNS = """
{ runsOrError(limit: 50) { ... on Runs { results { jobName status tags { key value } } } } }
"""
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on PythonError { message } }
}
"""
ADDRESSES = {"dagster": "DAGSTER_PORT", "mlflow": "MLFLOW_PORT", "prometheus": "PROMETHEUS_PORT"}


@dataclass(frozen=True)
class Stack:
    """What was brought up: its settings, and where its services are found from outside."""

    name: str
    file: Path
    said: str
    ports: dict[str, int]

    @property
    def settings(self) -> dict[str, str]:
        lines = self.file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def get(self, service: str, path: str) -> Any:
        with urllib.request.urlopen(self._url(service, path), timeout=30) as answer:
            return json.load(answer)

    def post(self, service: str, path: str, content: object) -> Any:
        request = urllib.request.Request(
            self._url(service, path),
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def runs(self) -> list[dict[str, Any]]:
        """Dagster's runs, newest first; their tags as a mapping."""
        found = self.post("dagster", "/graphql", {"query": RUNS})["data"]["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def launch(self, job: str) -> None:
        params = {
            "selector": {
                "repositoryLocationName": "mlops_pipelines",
                "repositoryName": "__repository__",
                "jobName": job,
            },
            "runConfigData": {},
        }
        said = self.post("dagster", "/graphql", {"query": LAUNCH, "variables": {"params": params}})
        assert said["data"]["launchRun"]["__typename"] == "LaunchRunSuccess", said

    def _url(self, service: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}{path}"


@pytest.fixture(scope="module")
def stack(
    engine: docker.DockerClient, base: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Everything is up and healthy; nothing is trained."""
    composes = (["docker", "compose", "version"], ["docker-compose", "version"])
    if not any(shutil.which(each[0]) and _run(each).returncode == 0 for each in composes):
        require("docker", "there is neither 'docker compose' nor docker-compose")
    folder = tmp_path_factory.mktemp("stack")
    # Whoever the product runs as in its containers must get here.
    for each in (folder, *folder.parents[:3]):
        each.chmod(each.stat().st_mode | 0o011)
    ports = {name: free_port() for name in (*ADDRESSES, "gateway", "stats")}
    name = f"mlops-test-{ports['dagster']}"
    file = folder / "settings"
    lines = {
        "COMPOSE_PROJECT_NAME": name,
        "MLOPS_HOME": folder / "home",
        "MLOPS_PROJECT": _project(folder / "project", name, ports),
        "MLOPS_PROJECT_ENV": folder / "project.env",
        "MLFLOW_WORKERS": 1,
        **{setting: ports[service] for service, setting in ADDRESSES.items()},
    }
    file.write_text("".join(f"{setting}={value}\n" for setting, value in lines.items()))
    # Runs find it by the same hash: nothing is downloaded within.
    runtime_image(engine, serving_lock(ROOT, ONNX_RUNTIME), base, WHEELHOUSE)
    environment = {**os.environ, "MLOPS_STACK": str(file), "BASE_IMAGE": base}
    try:
        up = _run([STACK, "up", "--without-registry"], env=environment)
        assert up.returncode == 0, up.stderr[-4000:]
        yield Stack(name, file, up.stdout, ports)
    finally:
        down = _run([STACK, "down", "--volumes"], env=environment)
        for image in images_of_store(engine, MODEL, folder / "home" / "store"):
            remove_image(engine, image)
    assert down.returncode == 0, down.stderr
    assert not engine.api.containers(all=True, filters={"name": name})
    assert not engine.networks.list(names=[name])
    assert not engine.volumes.list(filters={"name": name})


@pytest.mark.timeout(900)  # the first time on an engine, its images are built
def test_a_model_is_trained_released_and_asked_in_containers(
    stack: Stack, engine: docker.DockerClient
) -> None:
    for service in ADDRESSES:
        assert f"http://127.0.0.1:{stack.ports[service]}" in stack.said

    stack.launch(f"{MODEL}_train")
    runs = _soon(lambda: _finished(stack, 1), 240)
    # The release follows by itself: daemon, sensors and the engine's socket do what they are for.
    runs = _soon(lambda: _finished(stack, 2), 300)
    for run in runs:
        # Each was a container of the product's image, and goes.
        assert run["tags"]["dagster/image"] == stack.settings["PRODUCT_IMAGE"]
        one = {"id": run["tags"]["docker/container_id"]}
        _soon(lambda one=one: not engine.api.containers(all=True, filters=one), 60)

    rows = [_row(), _row()]
    answer = stack.post("gateway", f"/models/{MODEL}/invocations", {"dataframe_records": rows})
    assert len(answer["predictions"]) == len(rows)

    targets = _soon(lambda: _scraped(stack), 60)
    assert {"prometheus", "gateway", "replicas"} <= set(targets)
    asked = f'mlops_rows_total{{model="{MODEL}"}}'
    _soon(lambda: _value(stack, asked) == len(rows), 60)
    rules = stack.get("prometheus", "/api/v1/rules?type=alert")["data"]["groups"]
    firing = [rule["name"] for group in rules for rule in group["rules"] if rule["alerts"]]
    assert firing == []
    assert sum(len(group["rules"]) for group in rules) >= 5


def test_nothing_of_it_is_root_or_open_to_other_machines(
    stack: Stack, engine: docker.DockerClient
) -> None:
    mine = engine.containers.list(filters={"label": f"com.docker.compose.project={stack.name}"})
    assert len(mine) == 6
    for container in mine:
        user = container.attrs["Config"]["User"]
        assert user not in ("", "root", "0", "0:0"), container.name
        published = container.attrs["NetworkSettings"]["Ports"].values()
        assert {each["HostIp"] for ports in published for each in ports or ()} <= {"127.0.0.1"}


def test_no_password_is_in_an_image_or_readable_by_others(
    stack: Stack, engine: docker.DockerClient
) -> None:
    settings = stack.settings
    passwords = [value for name, value in settings.items() if name.endswith("_PASSWORD")]
    assert len(set(passwords)) == 3
    assert min(map(len, passwords)) >= 32
    assert stack.file.stat().st_mode & 0o077 == 0
    for setting in ("PRODUCT_IMAGE", "POSTGRES_IMAGE"):
        image = engine.images.get(settings[setting])
        said = json.dumps([image.attrs, image.history()])
        assert not any(password in said for password in passwords)


def test_up_is_asked_again_and_changes_nothing(stack: Stack, engine: docker.DockerClient) -> None:
    label = {"label": f"com.docker.compose.project={stack.name}"}
    before = {container.id for container in engine.containers.list(filters=label)}
    written = stack.file.read_text()
    environment = {**os.environ, "MLOPS_STACK": str(stack.file)}
    again = _run([STACK, "up", "--without-registry"], env=environment)
    assert again.returncode == 0, again.stderr[-4000:]
    assert {container.id for container in engine.containers.list(filters=label)} == before
    assert sorted(stack.file.read_text().splitlines()) == sorted(written.splitlines())


def test_a_project_that_runs_elsewhere_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text(
        f"MLOPS_ENV=local\nMLOPS_PROJECT={ROOT}\nMLOPS_HOME={tmp_path / 'home'}\n"
        f"MLOPS_PROJECT_ENV={tmp_path / 'project.env'}\n"
    )
    refused = _run([STACK, "up"], env={**os.environ, "MLOPS_STACK": str(file)})
    assert refused.returncode == 1
    assert refused.stderr == (
        "resources/local.yaml: target is process, and in containers it must be docker\n"
    )


def _project(root: Path, network: str, ports: dict[str, int]) -> Path:
    """A project of its own, with one model."""
    (root / "assets").mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "assets" / MODEL, root / "assets" / MODEL, ignore=ignored)
    shutil.copytree(ROOT / "resources", root / "resources")
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, root / name)
    settings = root / "resources" / "compose.yaml"
    text = settings.read_text()
    for old, new in (
        ("network: mlops-product", f"network: {network}"),
        ("port: 8080", f"port: {ports['gateway']}"),
        ("stats_port: 8081", f"stats_port: {ports['stats']}"),
    ):
        assert old in text
        text = text.replace(old, new)
    settings.write_text(text)
    return root


def _finished(stack: Stack, count: int) -> list[dict[str, Any]] | None:
    """The newest `count` runs, once as many have succeeded; one that failed ends the test."""
    runs = stack.runs()
    failed = [run["jobName"] for run in runs if run["status"] in ("FAILURE", "CANCELED")]
    assert not failed, failed
    done = [run for run in runs if run["status"] == "SUCCESS"]
    return done if len(done) >= count else None


def _scraped(stack: Stack) -> set[str] | None:
    """The jobs whose targets are all up, once gateway and replicas are among them."""
    active = stack.get("prometheus", "/api/v1/targets")["data"]["activeTargets"]
    jobs = {each["labels"]["job"] for each in active}
    down = [each for each in active if each["health"] != "up"]
    return jobs if {"gateway", "replicas"} <= jobs and not down else None


def _value(stack: Stack, query: str) -> float:
    found = stack.get("prometheus", f"/api/v1/query?query={urllib.request.quote(query)}")
    return sum(float(each["value"][1]) for each in found["data"]["result"])


def _row() -> dict[str, float]:
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).data
    return {name: float(value) for name, value in frame.iloc[0].items()}


def _soon(found: Callable[[], Any], seconds: float) -> Any:
    """What `found` gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.5)
    return value


def _run(command: list[Any], env: dict[str, str] | None = None) -> Any:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)
