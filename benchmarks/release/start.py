"""From a registered version to the first answer that callers get from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import Row, at_most, percentile, say
from benchmarks.release.errors import RefusedError
from benchmarks.release.load import calling
from benchmarks.release.world import Model, World
from mlops_pipelines import record
from mlops_pipelines.release.bill_of_materials import attach_bill_of_materials
from mlops_pipelines.release.bundle import build_bundle, open_predictor
from mlops_pipelines.release.evaluate import evaluate
from mlops_pipelines.release.evaluation import Evaluation
from mlops_pipelines.release.evaluation_record import EVALUATION, evaluation_document
from mlops_pipelines.release.images.try_image import serves_image
from mlops_pipelines.release.images.version_image import VersionImage
from mlops_pipelines.release.rollout import release
from mlops_pipelines.release.security.assess import assess
from mlops_pipelines.release.shadow import shadow

SECONDS, IMAGE_SECONDS = 8.0, 2.0
OWN_BYTES = 5e6


@dataclass
class Steps:
    """One version's way to the traffic: seconds of each step, and until it was seen to answer."""

    image: VersionImage
    seconds: dict[str, float] = field(default_factory=dict)
    serving: float = 0.0
    security: float = 0.0


def start_rows(world: World, scratch: Path, versions: int) -> list[Row]:
    """Figures over so many versions, each new, the first of which had built the runtime image."""
    model = Model(world, "started", {})
    first = model.register()
    say("the first version, which builds the runtime image ...")
    _steps(model, first)
    ways = []
    for _ in range(versions):
        version = model.register()
        began = time.monotonic()
        address = world.target.service(model.name)
        assert address is not None
        with calling(address.address, model.request(first), scratch, 1, 0.005) as load:
            began = time.monotonic()
            way = _steps(model, version)
            time.sleep(0.5)
        way.serving = float(load.seen.of(version)[:, 1].min()) - began
        way.security = _assess(model, version)
        ways.append(way)
        told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in way.seconds.items())
        say(f"version {version}: {way.serving:.2f} s to its first answer ({told})")
    world.target.stop(model.name)
    middle = {
        name: percentile([way.seconds[name] for way in ways], 0.5) for name in ways[0].seconds
    }
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in middle.items())
    serving = [way.serving for way in ways]
    images = [way.image.seconds for way in ways]
    with_security = percentile([way.serving + way.security for way in ways], 0.5)
    own = max(way.image.own_bytes - _model_bytes(model) for way in ways)
    return [
        Row(
            "version registered → serving, runtime image cached",
            percentile(serving, 0.5),
            "s",
            at_most(SECONDS),
            note=f"median of {versions} versions, {min(serving):.1f} to {max(serving):.1f} s, to "
            f"the first answer that a caller got; medians of the steps: {told}; in one Python "
            "process that has imported what it needs, without Dagster's own seconds",
        ),
        Row(
            "… with the security assessment, which the release job makes too",
            with_security,
            "s",
            note="the same and security.assess, which ends before anything is built there",
        ),
        Row(
            "of which image",
            percentile(images, 0.5),
            "s",
            at_most(IMAGE_SECONDS),
            note=f"{min(images):.2f} to {max(images):.2f} s; each was built, none was found",
        ),
        Row(
            "a version's own layers, without its model file",
            own / 1e6,
            "MB",
            at_most(OWN_BYTES / 1e6),
            note="the bundle with the server's code, beside a model file of "
            f"{_model_bytes(model) / 1e6:.2f} MB",
        ),
    ]


def _model_bytes(model: Model) -> int:
    bundle = model.bundle(1)
    return sum(path.stat().st_size for path in bundle.glob("model.*"))


def _steps(model: Model, version: int) -> Steps:
    """What the assets evaluation, image and deployment do, one after the other."""
    world, spec = model.world, model.spec
    registry, store = world.registry, world.store
    snapshot, rows, _ = model.data
    seconds: dict[str, float] = {}

    def timed(name: str, do: Callable[[], Any]) -> Any:
        began = time.monotonic()
        done = do()
        seconds[name] = time.monotonic() - began
        return done

    timed("bundle", lambda: build_bundle(registry, store, world.root, spec, version))
    champion = registry.champion(spec.name)

    def judged() -> None:
        result: Evaluation = evaluate(
            spec,
            snapshot,
            rows.holdout,
            open_predictor(registry, store, spec.name, version),
            open_predictor(registry, store, spec.name, champion) if champion else None,
            champion,
        )
        shadowed = shadow(
            spec.release.shadow,
            store,
            world.target.log_dir(spec.name),
            spec.name,
            model.bundle(version),
            model.bundle(champion) if champion else None,
        )
        document = evaluation_document(result, shadowed)
        registry.keep_json(spec.name, version, EVALUATION, document)
        bundle = model.bundle(version)
        attach_bill_of_materials(registry, spec, version, snapshot, bundle, result)
        refused = [gate.sentence for gate in result.gates if not gate.passed]
        if refused or shadowed.faults:
            raise RefusedError(f"version {version} was refused: {refused} {shadowed.faults}")
        registry.tag(spec.name, version, {record.GATES: "passed"})

    timed("evaluation and shadow replay", judged)
    image: VersionImage = timed("image", lambda: model.image(version))
    tried = timed("trial", lambda: serves_image(world.engine.client, image, model.bundle(version)))
    if not tried.passed:
        raise RefusedError(f"version {version}: {tried.sentence}")
    timed("release", lambda: release(*model.books, version, "bench-release"))
    return Steps(image, seconds)


def _assess(model: Model, version: int) -> float:
    world, spec = model.world, model.spec
    snapshot, rows, _ = model.data
    began = time.monotonic()
    assess(
        model.bundle(version),
        spec,
        snapshot,
        rows,
        lambda: open_predictor(world.registry, world.store, spec.name, version),
        params=world.registry.version(spec.name, version).params,
    )
    return time.monotonic() - began
