"""How many replicas there should be: bounds, no flapping, convergence; and the sensor that asks."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines import record
from mlops_pipelines.react.scale import (
    Decision,
    Load,
    cores_of,
    decide,
    from_json,
    load_of,
    to_json,
)
from mlops_pipelines.react.services import services_sensor
from mlops_pipelines.release.targets.places import Places
from mlops_pipelines.release.targets.process import ProcessTarget
from mlops_pipelines.release.targets.processes import end, of_control_dir
from mlops_pipelines.release.targets.scrape import samples
from mlops_pipelines.release.targets.target import Replica, Service, Usage
from mlops_pipelines.release_spec import Release
from mlops_pipelines.resources import MlflowResource, StoreResource, TargetResource
from mlops_pipelines.serve.metrics import Metrics
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.registry import Registry
from tests.release.conftest import free_port
from tests.serve.conftest import write_bundle

MODEL = "sugar"
TICK = 30.0


def release(low: int = 1, high: int = 8, **scale: float) -> Release:
    return Release.model_validate({"replicas": {"min": low, "max": high}, "scale": scale})


def measured(at: float, cpu: float, asked: float, replicas: int = 1, since: int = 0) -> Load:
    """Replicas that have used `cpu` seconds each, and answer `asked` requests each."""
    names = tuple(f"r{number}" for number in range(since, since + replicas))
    return Load(at, names, dict.fromkeys(names, cpu), dict.fromkeys(names, asked))


IDLE = measured(0, 5, 0)


def test_a_busy_replica_gets_another_at_once() -> None:
    found = decide(release(), 1.0, 1, measured(TICK, 5 + 0.9 * TICK, 1), IDLE, 0)
    assert found == Decision(
        2,
        TICK,
        "1 → 2 replicas: together they are busy on 0.90 × 1 cores and answer 1 requests at one "
        "time; each may be busy to 70% and answer 8",
    )


def test_cores_are_those_of_the_container() -> None:
    now = measured(TICK, 5 + 0.9 * TICK, 1)
    assert decide(release(), 2.0, 1, now, IDLE, 0).wanted == 1
    assert decide(release(), 0.5, 1, now, IDLE, 0).wanted == 2
    wide = Release.model_validate({"resources": {"cpus": 2.5}})
    assert [cores_of(kind, wide) for kind in ("process", "docker", "kubernetes")] == [1, 2.5, 2.5]


def test_requests_in_flight_count_as_well() -> None:
    assert decide(release(), 1.0, 1, measured(TICK, 5, 9), IDLE, 0).wanted == 2


def test_at_most_to_twice_as_many() -> None:
    now, before = measured(TICK, 5, 100, replicas=2), measured(0, 5, 0, replicas=2)
    assert decide(release(), 1.0, 2, now, before, 0).wanted == 4
    assert decide(release(high=3), 1.0, 2, now, before, 0).wanted == 3


def test_one_goes_after_the_cool_down_and_not_before() -> None:
    now, before = measured(200, 5, 0, replicas=3), measured(170, 5, 0, replicas=3)
    assert decide(release(), 1.0, 3, now, before, 81) == Decision(3, 81)
    found = decide(release(), 1.0, 3, now, before, 80)
    assert (found.wanted, found.needed_at) == (2, 200)
    assert found.sentence.startswith("3 → 2 replicas: for 120 s 3 were never needed; ")


NOTHING: dict[str, tuple[Load, Load | None]] = {
    "the first look": (measured(TICK, 50, 99), None),
    "too short apart": (measured(4, 50, 99), IDLE),
    "no page answers": (replace(measured(TICK, 50, 99), in_flight={}), IDLE),
    "no use was told": (replace(measured(TICK, 50, 99), cpu_seconds={}), IDLE),
    "all replicas are new": (measured(TICK, 50, 99, since=1), IDLE),
    "it began again under its name": (measured(TICK, 1, 99), IDLE),
    "the clock went back": (measured(-TICK, 50, 99), IDLE),
}


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_without_a_measurement(case: str) -> None:
    now, before = NOTHING[case]
    assert decide(release(cooldown_seconds=0), 1.0, 2, now, before, -1000) == Decision(2, -1000)


def test_none_goes_while_one_does_not_answer() -> None:
    now = measured(1000, 5, 0, replicas=3)
    before = measured(970, 5, 0, replicas=2)
    assert decide(release(), 1.0, 3, now, before, 0) == Decision(3, 1000)


def test_what_is_declared_holds_at_once() -> None:
    assert decide(release(2, 4), 1.0, 1, IDLE, None, 0).wanted == 2
    found = decide(release(2, 4), 1.0, 9, IDLE, None, 0)
    assert (found.wanted, found.sentence) == (4, "9 → 4 replicas: the declaration wants 2 to 4")


numbers = st.floats(0, 1e4)
loads = st.builds(
    lambda at, names, cpu, asked: Load(
        at, tuple(names), dict(zip(names, cpu, strict=False)), dict(zip(names, asked, strict=False))
    ),
    numbers,
    st.lists(st.sampled_from("abcdef"), unique=True, max_size=6).map(sorted),
    st.lists(numbers, max_size=6),
    st.lists(numbers, max_size=6),
)


@st.composite
def releases(draw: st.DrawFn) -> Release:
    low = draw(st.integers(1, 12))
    return release(
        low,
        draw(st.integers(low, 20)),
        cpu=draw(st.floats(0.05, 1)),
        in_flight=draw(st.floats(0.1, 50)),
        cooldown_seconds=draw(st.floats(0, 600)),
    )


@settings(deadline=None)
@given(releases(), st.integers(1, 64), loads, st.none() | loads, numbers, st.floats(0.1, 8))
def test_never_beyond_the_bounds_nor_too_fast(
    said: Release, wanted: int, now: Load, before: Load | None, needed_at: float, cores: float
) -> None:
    found = decide(said, cores, wanted, now, before, needed_at)
    bounds = said.replicas
    assert bounds.min <= found.wanted <= bounds.max
    assert bool(found.sentence) == (found.wanted != wanted)
    if bounds.min <= wanted <= bounds.max:
        assert wanted - 1 <= found.wanted <= 2 * wanted
        if found.wanted < wanted:
            assert now.at - needed_at >= said.scale.cooldown_seconds


@dataclass
class Simulated:
    """A service under a constant load, spread evenly, looked at every thirty seconds.

    `busy` cores' worth of work arrives, and a replica does at most one core's worth; `asked`
    requests are answered at one time.
    """

    said: Release
    busy: float
    asked: float
    wanted: int
    now: float = 0.0
    needed_at: float = 0.0
    before: Load | None = None

    def __post_init__(self) -> None:
        self.used = dict.fromkeys(range(self.wanted), 0.0)

    def tick(self) -> int:
        self.now += TICK
        names = tuple(f"r{number}" for number in self.used)
        share = min(1.0, self.busy / self.wanted)
        self.used = {number: used + share * TICK for number, used in self.used.items()}
        cpu = {f"r{number}": used for number, used in self.used.items()}
        load = Load(self.now, names, cpu, dict.fromkeys(names, self.asked / self.wanted))
        found = decide(self.said, 1.0, self.wanted, load, self.before, self.needed_at)
        kept = dict(list(self.used.items())[: found.wanted])
        first = max(self.used) + 1
        kept |= {first + number: 0.0 for number in range(found.wanted - len(kept))}
        self.used, self.wanted, self.needed_at = kept, found.wanted, found.needed_at
        self.before = from_json(json.loads(json.dumps(to_json(load))))
        return self.wanted


@settings(deadline=None)
@given(
    st.integers(1, 20),
    st.floats(0, 12),
    st.floats(0, 100),
    st.floats(0.3, 0.9),
    st.floats(1, 20),
    st.floats(0, 90),
)
def test_a_constant_load_ends_at_what_it_needs_and_stays_there(
    start: int, busy: float, asked: float, cpu: float, in_flight: float, cooldown: float
) -> None:
    said = release(1, 20, cpu=cpu, in_flight=in_flight, cooldown_seconds=cooldown)
    service = Simulated(said, busy, asked, start)
    # Down from 20 takes 19 cool-downs of at most four ticks, and one look more for each.
    counts = [start, *(service.tick() for _ in range(120))]
    rises = [new > old for old, new in pairwise(counts) if new != old]
    assert rises == sorted(rises) or rises == sorted(rises, reverse=True)
    needed = max(busy / cpu, asked / in_flight, 1)
    expected = min(20, math.ceil(needed - 1e-6))
    assert counts[-1] == expected
    assert len(set(counts[-20:])) == 1


def test_a_load_is_that_of_the_replicas_that_take_traffic() -> None:
    metrics = Metrics("churn", 2, "")
    metrics.in_flight = 3
    page = samples(metrics.render(0, 0, 2))
    service = Service(
        "churn", "", 2, "", (Replica("a", 2, ""), Replica("b", 2, "")), 2, (Replica("s", 1, ""),)
    )
    usage = (Usage("a", 2, 4.0, 1), Usage("b", 2, 5.0, 1), Usage("s", 1, 6.0, 1))
    assert load_of(service, usage, {"a": page, "s": page}, 7.0) == Load(
        7.0, ("a", "b"), {"a": 4.0, "b": 5.0}, {"a": 3.0}
    )


@dataclass(frozen=True)
class Scene:
    """A home with MLflow's books, a target, and a bundle of version 1 that can be served."""

    home: Path
    target: ProcessTarget
    port: int
    bundle: Path

    def tick(self, specs: dict[str, ModelSpec], cursor: str | None) -> tuple[str, str]:
        """What the sensor said, and its cursor."""
        target = {"type": "process", "ports": [self.port, self.port]}
        resources = {
            "mlflow": MlflowResource(tracking_uri=f"sqlite:///{self.home}/mlflow.db"),
            "store": StoreResource(root=str(self.home / "store"), cache=""),
            "target": TargetResource(home=str(self.home / "serving"), settings=target),
        }
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance=instance, cursor=cursor, resources=resources
            ) as context,
        ):
            result = services_sensor(specs)(context)
        assert isinstance(result, dg.SensorResult)
        assert isinstance(result.skip_reason, dg.SkipReason)
        return str(result.skip_reason.skip_message), str(result.cursor)


@pytest.fixture
def scene() -> Iterator[Scene]:
    from sklearn.linear_model import LinearRegression

    # pytest's own folders can be too long for a socket's path.
    home = Path(tempfile.mkdtemp(prefix="mlops-"))
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    registry._client.create_registered_model(MODEL)
    with registry.training(MODEL, {}) as run:
        registry._client.create_model_version(MODEL, source=str(home), run_id=run.run_id)
    registry.set_alias(MODEL, record.CHAMPION, 1)
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
    bundle = write_bundle(
        home / "bundle",
        LinearRegression().fit(frame, [0.0, 1.0, 2.0]),
        frame,
        [{"name": "x", "type": "double", "nullable": False}],
        model=MODEL,
        task="regression",
    )
    port = free_port()
    target = ProcessTarget(home / "serving", "127.0.0.1", (port, port))
    try:
        yield Scene(home, target, port, bundle)
    finally:
        end(of_control_dir(Places(home / "serving").control_dir(MODEL)), 2)
        shutil.rmtree(home)


def declared(name: str) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": name,
            "task": "regression",
            "data": {"source": {"python": "sklearn.datasets:load_diabetes"}, "target": "target"},
            "estimator": {"python": "sklearn.linear_model:LinearRegression"},
            "release": {"replicas": {"min": 1, "max": 3}, "scale": {"cooldown_seconds": 0}},
        }
    )


def test_the_sensor_scales_what_it_measured_and_survives_a_broken_model(scene: Scene) -> None:
    scene.target.switch(MODEL, scene.bundle, 3)
    # Its state cannot be read: no other model must suffer.
    broken = scene.home / "serving" / "a_broken_one"
    broken.mkdir()
    (broken / "service.json").write_text("{")
    specs = {name: declared(name) for name in ("a_broken_one", "never_deployed", MODEL)}
    _, told = scene.tick(specs, None)
    cursor = json.loads(told)
    assert list(cursor) == [MODEL]
    assert len(cursor[MODEL]["cpu_seconds"]) == 3

    # As if it had been looked at half a minute ago.
    cursor[MODEL]["at"] -= TICK
    cursor[MODEL]["needed_at"] -= TICK
    said, told = scene.tick(specs, json.dumps(cursor))
    assert f"{MODEL}: 3 → 2 replicas: for " in said
    service = scene.target.service(MODEL)
    assert service is not None
    assert service.wanted == 2

    # Stopped by hand: nobody starts it again.
    scene.target.stop(MODEL)
    said, _ = scene.tick(specs, told)
    assert said == "every service is as it should be"
    assert scene.target.service(MODEL) is None
