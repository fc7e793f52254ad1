"""Images of versions: how large they are, and how long they take beside MLflow's."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common import Row, at_least, at_most, percentile, ratio, say
from benchmarks.environments import PeerError
from benchmarks.release import pip_settings
from benchmarks.release.mlflow_image import CHANGES, MlflowImages
from benchmarks.release.world import BOOSTED, Model, World
from mlops_pipelines.release.bundle import build_bundle
from mlops_pipelines.release.images.version_image import VersionImage, build_version_image
from mlops_pipelines.serve.bundle import read_bundle

ONNX_BYTES, SKLEARN_BYTES = 200e6, 450e6
FASTER, SMALLER = 10.0, 3.0


def image_rows(world: World, scratch: Path, builds: int) -> list[Row]:
    """Sizes over the base, and `builds` further versions beside as many of MLflow's."""
    engine = world.engine
    model, kept = Model(world, "imaged", {}), Model(world, "kept", {"runtime": "scikit-learn"})
    wheelhouse = scratch / "wheelhouse"

    def image(of: Model, base: str) -> VersionImage:
        version = of.register()
        build_bundle(world.registry, world.store, world.root, of.spec, version)
        made = build_version_image(engine.client, of.bundle(version), base, wheelhouse, {})
        say(f"{read_bundle(of.bundle(version)).runtime.name}: {made.seconds:.1f} s")
        return made

    first_base, base = engine.fresh_base(), engine.fresh_base()
    say("our first image, no wheel downloaded yet; and once more with the wheels ...")
    with pip_settings.as_in_a_build():
        nothing = image(model, first_base)
    wheels = image(model, base)
    engine.forget(first_base)
    further = [image(model, base) for _ in range(builds)]
    say("the same on scikit-learn ...")
    with pip_settings.as_in_a_build():
        sklearn = image(kept, base)
    sklearn_further = [image(kept, base).seconds for _ in range(builds)]
    onnx_bytes, sklearn_bytes = nothing.layers[1][1], sklearn.layers[1][1]
    rows = [
        Row(f"runtime image over its base, {name}", size / 1e6, "MB", at_most(most / 1e6))
        for name, size, most in (
            ("ONNX Runtime", onnx_bytes, ONNX_BYTES),
            ("scikit-learn", sklearn_bytes, SKLEARN_BYTES),
        )
    ]
    ours = percentile([one.seconds for one in further], 0.5)
    theirs, failure = _mlflow(world, model, scratch, builds)
    named = "`mlflow models build-docker`"
    their_next = percentile(theirs.further, 0.5) if theirs.further else None
    size = engine.size(further[-1].id)
    note = failure or f"{CHANGES}; only its build is timed, ours whole"
    rows += [
        Row(
            f"a further version's image: times faster than {named}",
            ratio(their_next, ours),
            "×",
            at_least(FASTER),
            {
                "ours": ours,
                "ours, on scikit-learn": percentile(sklearn_further, 0.5),
                named: failure or their_next or "",
            },
            "s",
            note=f"both have built a version before: ours its runtime image, MLflow the engine's "
            f"layers; medians of {builds}",
        ),
        Row(
            f"the first image, nothing cached: times faster than {named}",
            ratio(theirs.first, nothing.seconds),
            "×",
            None,
            {
                "ours, downloading its wheels": nothing.seconds,
                "ours, with the wheels of another base": wheels.seconds,
                "ours, on scikit-learn, downloading what it needs beyond those": sklearn.seconds,
                named: failure or theirs.first or "",
            },
            "s",
            note=note,
        ),
        Row(
            f"image with all that is below it: times smaller than {named}",
            ratio(theirs.size, size),
            "×",
            at_least(SMALLER),
            {
                "ours": size / 1e6,
                "ours, on scikit-learn": engine.size(sklearn.id) / 1e6,
                named: failure or (theirs.size or 0) / 1e6,
                "the base image in each": engine.size(base) / 1e6,
            },
            "MB",
            note=theirs.served,
        ),
    ]
    return rows


class _Theirs:
    def __init__(self) -> None:
        self.first: float | None = None
        self.further: list[float] = []
        self.size: float | None = None
        self.served = ""


def _mlflow(world: World, model: Model, scratch: Path, builds: int) -> tuple[_Theirs, str]:
    """What was measured of MLflow, and why the rest could not be."""
    import json

    import joblib
    import numpy as np

    engine, found = world.engine, _Theirs()
    files = scratch / "mlflow"
    files.mkdir()
    _, rows, _ = model.data
    fitted = model.fitted(*BOOSTED)
    columns = [column.name for column in model.data[0].columns]
    matrix = np.asarray(rows.holdout[columns].head(20), dtype=float)
    if hasattr(fitted.estimator, "feature_names_in_"):
        del fitted.estimator.feature_names_in_
    joblib.dump(fitted.estimator, files / "model.joblib")
    np.save(files / "rows.npy", matrix)
    try:
        say("MLflow's image, as `mlflow models build-docker` would build it (some minutes) ...")
        images = MlflowImages(engine, files)
        base = engine.fresh_base()
        built = images.build(base)
        found.first, found.size = built.seconds, engine.size(built.image)
        for _ in range(builds):
            found.further.append(images.build(base).seconds)
        answer = images.answers(built, json.dumps({"inputs": matrix[:1].tolist()}).encode())
        expected = int(fitted.estimator.predict(matrix[:1])[0])
        if answer["predictions"] != [expected]:
            raise PeerError(f"MLflow's image answers {answer}, expected {expected}")
        found.served = "MLflow's was started, and answered a row as the model does"
        engine.forget(base)
    except PeerError as error:
        say(str(error))
        return found, str(error)
    return found, ""
