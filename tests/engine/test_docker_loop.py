"""The whole loop with MLOPS_ENV=docker, as somebody at a terminal goes through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from mlops_pipelines.cli import main
from mlops_pipelines.demo.daemon import Daemon
from mlops_pipelines.keys import asset_key
from mlops_pipelines.project import Project
from mlops_pipelines.release.targets.docker.surroundings import NETWORK
from mlops_pipelines.running import Ran
from mlops_pipelines.workbench import Workbench
from tests.conftest import ROOT
from tests.engine import services
from tests.engine.conftest import WHEELHOUSE, images_of_store, remove_image
from tests.engine.services import callers, free_port, get
from tests.loop import conftest as loop
from tests.loop.conftest import Mlops

if TYPE_CHECKING:
    import docker

# The first run makes base and runtime images.
pytestmark = pytest.mark.timeout(600)

gateway_image = services.gateway_image
mlops = loop.mlops

MODEL = "breast_cancer"
CANARY = {
    "strategy": "canary",
    "canary": {"steps": [10, 50], "bake_seconds": 1, "min_requests": 5, "agreement": 0.9},
}


@pytest.fixture
def containers(
    project_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: docker.DockerClient,
    base: str,
    gateway_image: str,
) -> Iterator[docker.DockerClient]:
    """The project's environment is docker, in a network of its own."""
    import docker

    network = f"mlops-test-{free_port()}"
    target = {
        "type": "docker",
        "base_image": base,
        "network": network,
        "gateway": {"image": gateway_image, "port": free_port(), "stats_port": free_port()},
    }
    (project_root / "resources" / "docker.yaml").write_text(yaml.safe_dump({"target": target}))
    monkeypatch.setenv("MLOPS_ENV", "docker")
    home = Project.find().home
    home.mkdir()
    (home / "wheelhouse").symlink_to(WHEELHOUSE)
    # Whoever the containers run as must get to their logs.
    for each in (home, *home.parents[:3]):
        each.chmod(each.stat().st_mode | 0o011)
    try:
        yield engine
    finally:
        of_network = {"label": [f"{NETWORK}={network}"]}
        for one in engine.api.containers(all=True, filters=of_network):
            engine.api.remove_container(one["Id"], force=True, v=True)
        with suppress(docker.errors.NotFound):
            engine.networks.get(network).remove()
        for image in images_of_store(engine, MODEL, home / "store"):
            remove_image(engine, image)


@pytest.fixture
def malignant() -> bytes:
    """A request for the first row, which every good version calls malignant."""
    from sklearn.datasets import load_breast_cancer

    rows = load_breast_cancer(as_frame=True).data
    split = {"columns": list(rows.columns), "data": [rows.iloc[0].tolist()]}
    return json.dumps({"dataframe_split": split}).encode()


def declare(root: Path, penalty: float, release: dict[str, Any], **more: Any) -> None:
    """The example, with another strength of its penalty, and other ways to release it."""
    said = yaml.safe_load((ROOT / "assets" / MODEL / "defs.yaml").read_text())
    about = said["attributes"]
    about["estimator"]["params"]["C"] = penalty
    about["estimator"]["cross_validation"] = 0
    about |= {"release": release, **more}
    folder = root / "assets" / MODEL
    folder.mkdir(exist_ok=True)
    (folder / "defs.yaml").write_text(yaml.safe_dump(said))


def tick() -> None:
    """What the daemon does each half minute to keep services up."""
    bench = Workbench(Project.find())
    with bench.instance() as instance:
        Daemon(bench.defs, instance, MODEL).tick("scale_services")


def bad_night(version: int, better: int) -> list[Ran]:
    """What the sensor makes of a night on which `better` answered the same rows clearly better."""
    bench = Workbench(Project.find())
    with bench.instance() as instance:
        said = {"previous_version": better, "previous_clearly_better": True, "version": version}
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=asset_key(MODEL, "performance"),
                check_name="no_degradation",
                passed=False,
                partition="2026-03-01",
                description="what was seen",
                metadata={"status": "alarm", "model": MODEL, "day": "2026-03-01", **said},
            )
        )
        return Daemon(bench.defs, instance, MODEL).tick("roll_back_degraded_models")


def state(mlops: Mlops) -> tuple[Any, ...]:
    """What serves, what the books say serves, what is kept warm, and what is in quarantine."""
    (found,) = mlops("status")
    about = ("serving", "champion", "standby", "quarantined")
    return tuple(found[name] for name in about)


def one_line(*arguments: str) -> str:
    """What a command that fails tells people."""
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    return line


def replicas(client: docker.DockerClient) -> dict[int, list[str]]:
    """The living containers of this test's model by version."""
    network = Project.find().environment.target.model_dump()["network"]
    found = client.api.containers(filters={"label": [f"{NETWORK}={network}"]})
    of: dict[int, list[str]] = {}
    for one in found:
        if "mlops.version" in one["Labels"]:
            of.setdefault(int(one["Labels"]["mlops.version"]), []).append(one["Id"])
    return of


def test_a_model_lives_in_containers(
    mlops: Mlops,
    project_root: Path,
    containers: docker.DockerClient,
    malignant: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declare(project_root, 1.0, {})
    assert mlops("train", MODEL)["version"] == 1
    first = mlops("release", MODEL)
    address = first["address"]
    assert (first["action"], first["strategy"], first["shares"]) == (
        "deploy",
        "blue_green",
        {"1": 100},
    )
    assert get(address, "/health/ready")[1]["version"] == 1

    with callers(address, malignant, 2) as seen:
        # Blue, green, and back: what served is warm until it has to serve, and no failure is.
        seen.await_answers(1)
        declare(project_root, 0.5, {})
        assert mlops("train", MODEL)["version"] == 2
        assert mlops("release", MODEL)["standby"] == 1
        seen.await_answers(2)
        warm = replicas(containers)[1]
        assert state(mlops) == (2, 2, 1, [])
        back = mlops("rollback", MODEL, "--reason", "complaints")
        assert (back["version"], back["action"], "standby" in back) == (1, "rollback", False)
        seen.await_answers(1)
        assert state(mlops) == (1, 1, None, [2])
        assert replicas(containers) == {1: warm}, "the standby took over, and version 2 is ended"

        # Step by step to all traffic.
        declare(project_root, 0.7, CANARY)
        assert mlops("train", MODEL)["version"] == 3
        third = mlops("release", MODEL)
        assert (third["strategy"], third["standby"], third["shares"]) == ("canary", 1, {"3": 100})
        assert [line.split(":")[0] for line in third["steps"].splitlines()] == ["- 10 %", "- 50 %"]
        seen.await_answers(3)

        # One that calls everybody healthy passes loose gates, and shows it at the first step.
        declare(
            project_root,
            1e-7,
            CANARY,
            gates=[
                {"metric": metric, "within_champion": 0.9} for metric in ("roc_auc", "accuracy")
            ],
        )
        assert mlops("train", MODEL)["version"] == 4
        refused = mlops("release", MODEL, fails=True)
        assert "version 4 was taken back at 10 % of the traffic: it answers 0.00% of" in refused
        assert refused.endswith("version 3 has all traffic")
        assert "\n" not in refused
        assert seen.answers[4] > 0
        assert state(mlops) == (3, 3, 1, [4, 2])
        assert sorted(replicas(containers)) == [1, 3]

        # A night finds that the version before was better: the sensor puts it back.
        (ran,) = bad_night(3, better=1)
        assert ran.success, ran.failure
        assert ran.metadata["deployment"]["action"] == "rollback"
        seen.await_answers(1)
        assert state(mlops) == (1, 1, None, [4, 3, 2])
        assert replicas(containers) == {1: warm}

        # What serves is killed: the gateway goes to the standby by itself, the books follow.
        declare(project_root, 0.6, {})
        assert mlops("train", MODEL)["version"] == 5
        assert mlops("release", MODEL)["standby"] == 1
        (name,) = replicas(containers)[5]
        containers.api.kill(name, "SIGKILL")
        seen.await_answers(1)
        assert state(mlops)[:2] == (1, 5)
        tick()
        seen.await_answers(1)
        assert state(mlops) == (1, 1, None, [5, 4, 3, 2])
    assert seen.failures == []
    assert replicas(containers) == {1: warm}
    told = {line["version"]: line["rolled_back"] for line in mlops("history", MODEL)["versions"]}
    assert told[2] == "complaints"
    assert "version 1 is clearly better on the same rows" in told[3]
    assert told[4].startswith("canary at 10 %: it answers 0.00% of")
    assert told[5].startswith("lost its traffic at the gateway: none of its replicas lives")

    night = {each["check"]: each for each in mlops("monitor", MODEL)["checks"]}
    assert night["healthy"]["status"] == "ok"
    place = Workbench(Project.find()).target
    (used,) = place.usage(MODEL)
    assert (used.version, used.cpu_seconds > 0, used.memory_bytes > 0) == (1, True, True)
    assert None not in (used.network_sent_bytes, used.disk_read_bytes, used.disk_written_bytes)
    proofs = mlops("lineage", MODEL, "3", "--verify")["proofs"]
    assert {each["thing"] for each in proofs if each["thing"].startswith("image")} == {"image"}

    with monkeypatch.context() as down:
        down.setenv("DOCKER_HOST", f"unix://{project_root}/no.sock")
        for command in ("status", "stop"):
            assert "no.sock does not answer" in one_line(command, MODEL)
    assert get(address, "/health/ready")[1]["version"] == 1

    mlops("stop", MODEL)
    assert replicas(containers) == {}
    assert state(mlops)[:2] == (None, 1)
    assert get(address, "/health/ready")[0] == 503


def test_a_release_without_an_engine_is_refused_in_one_line(
    mlops: Mlops,
    project_root: Path,
    containers: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declare(project_root, 1.0, {})
    mlops("train", MODEL)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project_root}/no.sock")
    assert "no.sock does not answer" in one_line("release", MODEL)
    # What a run that failed had only planned is no answer.
    gates = {each["gate"] for each in mlops("lineage", MODEL, "1")["gates"]["results"]}
    assert "secure" in gates
    assert "serves" not in gates
    monkeypatch.delenv("DOCKER_HOST")
    assert state(mlops) == (None, None, None, [])
    assert replicas(containers) == {}
