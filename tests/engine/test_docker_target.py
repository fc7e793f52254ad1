"""Versions as containers behind a real gateway: moved, taken back, killed, mended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_pipelines.errors import TargetError
from mlops_pipelines.monitor.segments import finished
from mlops_pipelines.release.targets.docker.target import DockerTarget
from mlops_pipelines.release.targets.target import Service, WeightedTarget
from mlops_pipelines.release_spec import Release, Resources
from mlops_pipelines.serve.bundle import read_bundle
from mlops_pipelines.serve.segments import read_segments
from tests.engine import services
from tests.engine.conftest import WHEELHOUSE
from tests.engine.services import World, callers, get, request_of
from tests.release.conftest import MODEL

gateway_image = services.gateway_image
world = services.world


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    yield
    world.target.stop(MODEL)
    assert world.target.service(MODEL) is None


def versions(service: Service | None) -> tuple[int | None, int, int | None]:
    """What serves, by how many replicas, and what is kept warm."""
    assert service is not None
    return service.version, len(service.replicas), service.standby


def running(world: World, version: int) -> list[str]:
    found = world.target._replicas.found(MODEL)
    return [one.name for one in found if one.runs and one.about.version == version]


def test_a_version_is_confined_serves_and_says_what_it_uses(world: World) -> None:
    assert isinstance(world.target, WeightedTarget)
    assert world.target.service(MODEL) is None
    world.releases[MODEL] = Release(resources=Resources(cpus=0.5, memory_mb=256))
    service = world.target.switch(MODEL, world.bundle(1), 1)
    assert versions(service) == (1, 1, None)
    assert (service.wanted, service.shares, service.replicas[0].healthy) == (1, {1: 100}, True)
    assert get(service.address, "/health/ready")[1]["version"] == 1
    (name,) = running(world, 1)
    about = world.client.containers.get(name).attrs
    host = about["HostConfig"]
    assert (host["NanoCpus"], host["Memory"]) == (500_000_000, 256 << 20)
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert about["Config"]["User"] == f"{os.getuid() or 65532}:{os.getgid() or 65532}"
    del world.releases[MODEL]
    with callers(service.address, request_of(world.bundle(1)), 1) as seen:
        seen.await_answers(1, 20)
    (usage,) = world.target.usage(MODEL)
    assert (usage.replica, usage.version, usage.memory_limit_bytes) == (name, 1, 256 << 20)
    assert usage.cpu_seconds > 0
    assert 10 << 20 < usage.memory_bytes < 256 << 20
    assert (usage.network_received_bytes or 0) > 1000
    (samples,) = world.target.metrics(MODEL).values()
    assert any(sample.labels.get("version") == "1" for sample in samples)
    counted = world.target.traffic(MODEL)[1]
    assert counted.requests >= seen.answers[1]
    assert (counted.errors, counted.seconds > 0) == (0, True)
    rows = [
        row
        for segment in read_segments(world.target.log_dir(MODEL), "predictions")
        for row in segment.rows
    ]
    assert {row.request_id for row in rows} == seen.ids
    # The writer is process 1 of its container, and lives.
    assert finished(world.target.log_dir(MODEL)) == frozenset()
    world.target.stop(MODEL)
    assert len(finished(world.target.log_dir(MODEL))) > 0
    assert get(service.address, "/health/ready")[0] == 503


def test_switches_and_rollbacks_under_load_lose_nothing(world: World) -> None:
    service = world.target.switch(MODEL, world.bundle(1), 1)
    seconds = []
    with callers(service.address, request_of(world.bundle(1))) as seen:
        world.target.switch(MODEL, world.bundle(2), 1)
        for _ in range(3):
            for version in (1, 2):
                began = time.monotonic()
                moved = world.again().switch(MODEL, world.bundle(version), 1)
                seconds.append(time.monotonic() - began)
                assert versions(moved) == (version, 1, 3 - version)
                seen.await_answers(version, 8)
    assert seen.failures == []


def test_a_canary_takes_its_share_and_can_be_withdrawn(world: World) -> None:
    target = world.target
    target.switch(MODEL, world.bundle(1), 1)
    service = target.challenge(MODEL, world.bundle(2), 1)
    assert versions(service) == (1, 1, None)
    assert [(one.version, one.role) for one in service.others] == [(2, "challenger")]
    assert service.shares == {1: 100}
    target.weigh(MODEL, 2, 25)
    with callers(service.address, request_of(world.bundle(1)), 2) as seen:
        seen.await_answers(2, 20)
    assert 2.5 < seen.answers[1] / seen.answers[2] < 3.5
    again = target.service(MODEL)
    assert again is not None
    assert again.shares == {1: 75, 2: 25}
    assert target.tidy(MODEL) == (), "a canary is under way"
    with pytest.raises(TargetError, match="version 3 is no challenger"):
        target.weigh(MODEL, 3, 50)
    with pytest.raises(TargetError, match="version 1 serves"):
        target.withdraw(MODEL, 1)
    target.withdraw(MODEL, 2)
    assert versions(target.service(MODEL)) == (1, 1, None)
    assert running(world, 2) == []
    target.challenge(MODEL, world.bundle(2), 1)
    target.weigh(MODEL, 2, 100)
    assert versions(target.service(MODEL)) == (2, 1, 1)
    assert set(target.traffic(MODEL)) == {1, 2}
    assert seen.failures == []


def test_a_version_that_crashes_leaves_the_traffic_to_the_standby(world: World) -> None:
    world.target.switch(MODEL, world.bundle(1), 1)
    service = world.target.switch(MODEL, world.bundle(2), 1)
    (name,) = running(world, 2)
    with callers(service.address, request_of(world.bundle(1))) as seen:
        seen.await_answers(2)
        world.client.api.kill(name, "SIGKILL")
        seen.await_answers(1)
        # Whoever looks before anything is mended sees who really answers.
        assert (world.again().service(MODEL) or service).version == 1
        said = world.target.tidy(MODEL)
        seen.await_answers(1)
    assert seen.failures == []
    assert any("version 2 failed, and the gateway gave its traffic to version 1" in s for s in said)
    assert versions(world.target.service(MODEL)) == (1, 1, None)
    assert running(world, 2) == []
    assert world.target.tidy(MODEL) == ()


def test_a_killed_replica_costs_no_request_and_is_replaced(world: World) -> None:
    service = world.target.switch(MODEL, world.bundle(1), 2)
    with callers(service.address, request_of(world.bundle(1))) as seen:
        for _ in range(3):
            seen.await_answers(1)
            world.client.api.kill(running(world, 1)[0], "SIGKILL")
            seen.await_answers(1)
            world.target.tidy(MODEL)
    assert seen.failures == []
    assert versions(world.target.service(MODEL)) == (1, 2, None)
    rows = [
        row.request_id
        for segment in read_segments(world.target.log_dir(MODEL), "predictions")
        for row in segment.rows
    ]
    assert seen.ids <= set(rows)


def test_replicas_follow_what_is_wanted_under_load(world: World) -> None:
    service = world.target.switch(MODEL, world.bundle(1), 1)
    with callers(service.address, request_of(world.bundle(1)), 4) as seen:
        for wanted in (3, 1):
            assert versions(world.target.scale(MODEL, wanted)) == (1, wanted, None)
            seen.await_answers(1)
    assert seen.failures == []
    assert len(running(world, 1)) == 1


def test_what_a_killed_run_left_is_undone_and_the_standby_ends_in_time(world: World) -> None:
    target = world.target
    target.switch(MODEL, world.bundle(1), 1)
    # A switch that was killed once its replicas were behind the gateway, and before that.
    digest = read_bundle(world.bundle(2)).digest
    target._roles(MODEL).challenge(world.bundle(2), digest, 1, switching=True)
    about = target._roles(MODEL)._about(world.bundle(3))
    target._replicas.start(about, 1, target.log_dir(MODEL), Resources())
    assert target.tidy(MODEL) == ("ended 2 replicas that an interrupted run had left",)
    assert versions(target.service(MODEL)) == (1, 1, None)
    world.releases[MODEL] = Release(standby_minutes=0)
    target.switch(MODEL, world.bundle(2), 1)
    del world.releases[MODEL]
    assert versions(target.service(MODEL)) == (2, 1, 1)
    assert target.tidy(MODEL) == ("version 1 was kept warm long enough: ended",)
    assert versions(target.service(MODEL)) == (2, 1, None)


def test_gateway_and_containers_come_back_as_they_were(world: World) -> None:
    target = world.target
    service = target.switch(MODEL, world.bundle(1), 1)
    target.switch(MODEL, world.bundle(2), 1)
    world.client.api.remove_container(f"{world.settings.network}-gateway", force=True)
    gone = target.service(MODEL)
    assert gone is not None
    assert (gone.version, gone.shares, gone.replicas[0].healthy) == (2, {}, False)
    assert "the gateway did not run: started" in target.tidy(MODEL)
    assert get(service.address, "/health/ready")[1]["version"] == 2
    target.withdraw(MODEL, 1)
    world.client.api.restart(running(world, 2)[0], timeout=1)
    deadline = time.monotonic() + 20
    while get(service.address, "/health/ready")[0] != 200 and time.monotonic() < deadline:
        target.tidy(MODEL)
    assert versions(target.service(MODEL)) == (2, 1, None)
    assert get(service.address, "/health/ready")[1]["version"] == 2


def test_a_bundle_that_is_not_ready_moves_nothing(world: World, tmp_path: Path) -> None:
    target = world.target
    service = target.switch(MODEL, world.bundle(1), 1)
    world.releases[MODEL] = Release(resources=Resources(memory_mb=64))
    # Too little for scikit-learn: the kernel ends it before it is ready.
    with pytest.raises(TargetError, match="ended before it was ready.*traffic did not move"):
        target.switch(MODEL, world.bundle(3), 1)
    del world.releases[MODEL]
    assert versions(target.service(MODEL)) == (1, 1, None)
    assert running(world, 3) == []
    with pytest.raises(TargetError, match="the bundle is refused"):
        target.switch(MODEL, tmp_path, 1)
    assert get(service.address, "/health/ready")[1]["version"] == 1


def test_a_port_that_is_taken_and_an_image_that_is_not_there_are_told(world: World) -> None:
    import socket

    target = world.target
    target.switch(MODEL, world.bundle(1), 1)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        for gateway, reason in (
            (world.settings.gateway.model_copy(update={"port": taken}), f"127.0.0.1:{taken}"),
            (
                world.settings.gateway.model_copy(update={"image": "mlops/no-such-image:none"}),
                "mlops/no-such-image:none is not on the engine and cannot be pulled",
            ),
        ):
            settings = world.settings.model_copy(
                update={"gateway": gateway, "network": f"{world.settings.network}-2"}
            )
            other = DockerTarget(world.home / "other", settings, {}, WHEELHOUSE)
            with pytest.raises(TargetError, match=reason) as raised:
                other.switch(MODEL, world.bundle(1), 1)
            assert "\n" not in str(raised.value)
    found = world.client.networks.list(names=[f"{world.settings.network}-2"])
    for network in found:
        network.remove()
    assert world.names(role="gateway") == [f"{world.settings.network}-gateway"]
    assert versions(target.service(MODEL)) == (1, 1, None)


def test_other_settings_replace_the_gateway_and_say_so_or_leave_it_as_it_was(
    world: World,
) -> None:
    import socket

    target = world.target
    service = target.switch(MODEL, world.bundle(1), 1)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = world.settings.gateway.model_copy(update={"port": stranger.getsockname()[1]})
        settings = world.settings.model_copy(update={"gateway": taken})
        other = DockerTarget(world.home, settings, {}, WHEELHOUSE)
        with pytest.raises(TargetError, match="the gateway cannot listen on"):
            other.tidy(MODEL)
    assert get(service.address, "/health/ready")[1]["version"] == 1
    assert world.names(role="gateway") == [f"{world.settings.network}-gateway"]

    free = world.settings.gateway.model_copy(update={"port": services.free_port()})
    settings = world.settings.model_copy(update={"gateway": free})
    other = DockerTarget(world.home, settings, {}, WHEELHOUSE)
    other.switch(MODEL, world.bundle(1), 1)
    assert other.tidy(MODEL) == ()
    moved = other.service(MODEL)
    assert moved is not None
    assert f":{free.port}/" in moved.address
    assert get(moved.address, "/health/ready")[1]["version"] == 1
    assert target.tidy(MODEL) == ("the gateway ran with other settings: replaced",)
    assert get(service.address, "/health/ready")[1]["version"] == 1
    assert world.names(role="gateway") == [f"{world.settings.network}-gateway"]


def test_an_engine_that_is_down_is_one_line(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = world.target.switch(MODEL, world.bundle(1), 1)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(TargetError, match="does not answer") as raised:
        world.again().switch(MODEL, world.bundle(2), 1)
    assert "\n" not in str(raised.value)
    assert get(service.address, "/health/ready")[1]["version"] == 1
