from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.release.bundle import build_bundle, bundle_of, open_bundle, open_predictor
from mlops_pipelines.release.golden import rehearse
from mlops_pipelines.release.serves import serves
from mlops_pipelines.store import Store
from tests.release.conftest import MODEL, World


def test_the_layout_of_a_bundle(world: World) -> None:
    folder = world.bundle(2)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {file for file in files if not file.startswith("code/mlops_pipelines/serve/")} == {
        "bundle.json",
        "code/assets/cancer/pipeline.py",
        "code/mlops_pipelines/__init__.py",
        "expectations.json",
        "golden.json",
        "manifest.json",
        "model.skops",
        "reference_profile.json",
        "requirements.lock",
    }
    about = json.loads((folder / "bundle.json").read_text())
    version = world.registry.version(MODEL, 2)
    assert {name: value for name, value in about.items() if name != "columns"} == {
        "schema": 2,
        "model": MODEL,
        "version": 2,
        "task": "binary_classification",
        "target": "target",
        "classes": [0, 1],
        "positive": 1,
        "trusted_types": ["assets.cancer.pipeline.Guarded"],
        "limits": world.spec.release.limits.model_dump(),
        "sync": True,
        "runtime": {
            "name": "scikit-learn",
            "reason": "it holds types of its own (Guarded), which ONNX does not know",
            "tolerance": None,
            "scale": 1.0,
            "largest_difference": None,
            "differing": None,
            "rows": None,
        },
        "run_id": version.run_id,
        "snapshot": world.snapshot.digest,
        "git_commit": version.tags[record.GIT_COMMIT],
        "git_dirty": "",
        "lock_hash": record.file_hash(world.root / "requirements.lock"),
        "python": version.tags[record.PYTHON],
    }
    assert about["columns"][0] == {"name": "mean radius", "type": "double", "nullable": False}
    assert (folder / "requirements.lock").read_text() == (
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n"
        "    --hash=sha256:00 \\\n"
        "    --hash=sha256:01\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n"
        "    --hash=sha256:02\n"
        "scikit_learn==1.9.1 \\\n"
        "    --hash=sha256:04\n"
    )


def test_a_bundle_that_onnx_runtime_serves_needs_no_scikit_learn(world: World) -> None:
    folder = world.bundle(3)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {file for file in files if not file.startswith("code/mlops_pipelines/serve/")} == {
        "bundle.json",
        "code/mlops_pipelines/__init__.py",
        "expectations.json",
        "golden.json",
        "manifest.json",
        "model.onnx",
        "reference_profile.json",
        "requirements.lock",
    }
    about = json.loads((folder / "bundle.json").read_text())
    assert about["trusted_types"] == []
    found = about["runtime"]
    assert (found["name"], found["tolerance"], found["scale"]) == ("onnxruntime", 1e-5, 1.0)
    assert (found["differing"], found["rows"]) == (0, len(world.rows.holdout))
    assert 0 < found["largest_difference"] < 1e-6
    assert found["reason"] == (
        f"it answers {found['rows']} holdout rows as scikit-learn does, to "
        f"{found['largest_difference']:.2g} (1e-05 is allowed)"
    )
    assert "scikit_learn" not in (folder / "requirements.lock").read_text()


def test_a_declaration_can_stay_with_scikit_learn(world: World, tmp_path: Path) -> None:
    spec = world.spec.model_copy(
        update={"release": world.spec.release.model_copy(update={"runtime": "scikit-learn"})}
    )
    bundle = build_bundle(world.registry, Store(str(tmp_path)), world.root, spec, 3)
    reason = "the declaration says so (release.runtime)"
    assert (bundle.runtime.name, bundle.runtime.reason) == ("scikit-learn", reason)
    assert (bundle.folder / "model.skops").is_file()
    assert not bundle.runtime.disagrees


def test_without_the_holdout_nothing_is_converted(world: World, tmp_path: Path) -> None:
    bundle = build_bundle(world.registry, Store(str(tmp_path)), world.root, world.spec, 3)
    assert bundle.runtime.name == "scikit-learn"
    assert bundle.runtime.reason == "the holdout it would be compared on is gone from the store"
    assert serves(bundle.folder).passed


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_same_version_gives_the_same_digest(world: World, tmp_path: Path, version: int) -> None:
    known = build_bundle(world.registry, world.store, world.root, world.spec, version)
    assert not known.built
    assert known.key == f"bundles/{MODEL}/{known.digest[:16]}"
    assert world.registry.version(MODEL, version).tags[record.BUNDLE] == known.digest
    shutil.copytree(world.root / "store" / "snapshots", tmp_path / "other" / "snapshots")
    elsewhere = Store(str(tmp_path / "other"))
    again = build_bundle(world.registry, elsewhere, world.root, world.spec, version)
    assert (again.built, again.digest, again.size_bytes) == (True, known.digest, known.size_bytes)
    assert again.runtime == known.runtime


def test_a_version_without_a_bundle_says_what_to_do(world: World, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"cancer version 1: its bundle \w{12} is gone"):
        bundle_of(world.registry, Store(str(tmp_path)), MODEL, 1)
    with pytest.raises(NotFoundError):
        open_bundle(world.store, MODEL, "0" * 64)
    with pytest.raises(NotFoundError):
        build_bundle(world.registry, world.store, world.root, world.spec, 9)


def test_the_predictor_of_a_version_answers_as_in_training(world: World) -> None:
    for version in (1, 2, 3):
        assert open_predictor(world.registry, world.store, MODEL, version).disagreement() is None


@pytest.mark.parametrize(("version", "largest"), [(2, 1e-9), (3, 1e-5)])
def test_a_bundle_serves_over_http_what_it_answered_in_training(
    world: World, version: int, largest: float
) -> None:
    result = serves(world.bundle(version))
    assert (result.passed, result.rows) == (True, 20)
    assert result.largest_difference <= largest
    assert "20 golden rows are answered as in training, over HTTP" in result.sentence


def test_a_bundle_that_answers_otherwise_does_not_serve(world: World, broken: Path) -> None:
    result = serves(broken)
    assert not result.passed
    assert "was altered" in result.sentence
    holds, sentence = rehearse(broken)
    assert not holds
    assert "was altered" in sentence


def test_a_rehearsal_asks_the_bundles_own_server(world: World) -> None:
    assert rehearse(world.bundle(3)) == (True, "20 golden rows are answered as in training")
    holds, sentence = rehearse(world.root)
    assert (holds, sentence.startswith("it cannot be tried: ")) == (False, True)
