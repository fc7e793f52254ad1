from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_pipelines import record
from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.measure.fairness import Gap
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import reference_profile
from mlops_pipelines.release.bill_of_materials import (
    attach_bill_of_materials,
    bill_of_materials,
    invalid,
)
from mlops_pipelines.release.bundle import build_bundle, open_predictor
from mlops_pipelines.release.evaluate import evaluate
from mlops_pipelines.release.evaluation import Evaluation
from mlops_pipelines.spec import Card, ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.facts import RECORD, seal
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.registry import Registry, Version
from mlops_pipelines.train.snapshot import Snapshot, freeze, profile_columns, read_rows
from mlops_pipelines.train.source import describe, load_rows
from tests.release.conftest import MODEL, World
from tests.train.conftest import ROOT, example_spec

EXAMPLES = ("breast_cancer", "card_fraud", "diabetes")


def evaluated(world: World, version: int) -> Evaluation:
    predictor = open_predictor(world.registry, world.store, MODEL, version)
    return evaluate(world.spec, world.snapshot, world.rows.holdout, predictor, None, None)


def made_of(world: World, spec: ModelSpec | None = None) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(content_of(world, spec))
    return said


def content_of(world: World, spec: ModelSpec | None = None) -> bytes:
    version = world.registry.version(MODEL, 2)
    bundle = world.bundle(2)
    return bill_of_materials(
        spec or world.spec, version, world.snapshot, bundle, evaluated(world, 2)
    )


def test_the_same_version_gives_the_same_bytes(world: World) -> None:
    first = content_of(world)

    assert content_of(world) == first
    said = json.loads(first)
    assert (said["bomFormat"], said["specVersion"]) == ("CycloneDX", "1.6")
    created = world.registry.version(MODEL, 2).created
    assert datetime.fromisoformat(said["metadata"]["timestamp"]) == created
    manifest = json.loads((world.bundle(2) / "manifest.json").read_text())
    properties = {p["name"]: p["value"] for p in said["metadata"]["component"]["properties"]}
    assert properties["mlops:bundle_digest"] == manifest["digest"]
    assert properties["mlops:snapshot"] == world.snapshot.digest
    files = {each["name"]: each["hashes"] for each in said["metadata"]["component"]["components"]}
    assert files == {
        name: [{"alg": "SHA-256", "content": sha256}] for name, sha256 in manifest["files"].items()
    }


def a_bundle(folder: Path, lock: str) -> Path:
    folder.mkdir()
    (folder / "requirements.lock").write_text(lock)
    (folder / "manifest.json").write_text(
        json.dumps({"files": {"a": "0" * 64}, "digest": "1" * 64})
    )
    return folder


def hashes(*digits: str) -> str:
    return " \\\n".join(f"    --hash=sha256:{digit * 64}" for digit in digits)


def test_every_package_of_the_lock_is_there_with_all_its_hashes(
    world: World, tmp_path: Path
) -> None:
    lock = (
        f"numpy==2.4.6 ; python_full_version < '3.12' \\\n{hashes('0', '1')}\n"
        f"numpy==2.5.5 ; python_full_version >= '3.12' \\\n{hashes('2')}\n"
        f"scikit_learn==1.9.1 \\\n{hashes('3', '4', '5')}\n"
        "uvicorn[standard]==0.40\n"
        "somewhere @ https://example.org/somewhere.whl\n"
    )
    said = json.loads(
        bill_of_materials(
            world.spec,
            world.registry.version(MODEL, 2),
            world.snapshot,
            a_bundle(tmp_path / "bundle", lock),
            evaluated(world, 2),
        )
    )

    packages = [each for each in said["components"] if each["type"] == "library"]
    assert [
        (each["purl"], each.get("version"), [h["content"][0] for h in each.get("hashes", [])])
        for each in sorted(packages, key=lambda each: each["purl"])
    ] == [
        ("pkg:pypi/numpy@2.4.6", "2.4.6", ["0", "1"]),
        ("pkg:pypi/numpy@2.5.5", "2.5.5", ["2"]),
        ("pkg:pypi/scikit-learn@1.9.1", "1.9.1", ["3", "4", "5"]),
        ("pkg:pypi/somewhere", None, []),
        ("pkg:pypi/uvicorn@0.40", "0.40", []),
    ]
    markers = [each["properties"][0]["value"] for each in packages if each.get("properties")]
    assert sorted(markers) == ["python_full_version < '3.12'", "python_full_version >= '3.12'"]
    depends = {each["ref"]: sorted(each.get("dependsOn", [])) for each in said["dependencies"]}
    assert depends["model"] == sorted(["data", *(each["bom-ref"] for each in packages)])


def test_the_model_card_says_what_the_evaluation_found(world: World) -> None:
    spec = world.spec.model_copy(
        update={"description": "Malignant or benign.", "owners": ("team:oncology", "a@b.org")}
    )
    said = made_of(world, spec)

    card = said["metadata"]["component"]["modelCard"]
    parameters = card["modelParameters"]
    assert parameters["task"] == "binary_classification"
    assert parameters["datasets"] == [{"ref": "data"}]
    assert len(parameters["inputs"]) == 30
    assert parameters["inputs"][0] == {"format": "mean radius: double"}
    assert parameters["outputs"] == [{"format": "target, one of [0, 1]"}]
    found = evaluated(world, 2)
    area = next(
        each
        for each in card["quantitativeAnalysis"]["performanceMetrics"]
        if each["type"] == "roc_auc"
    )
    assert area == {
        "type": "roc_auc",
        "value": repr(float(found.metrics["roc_auc"])),
        "confidenceInterval": {
            "lowerBound": repr(float(found.intervals["roc_auc"].low)),
            "upperBound": repr(float(found.intervals["roc_auc"].high)),
        },
    }
    assert card["considerations"]["useCases"] == ["Malignant or benign."]
    data = next(each for each in said["components"] if each["bom-ref"] == "data")
    assert (data["type"], data["version"]) == ("data", world.snapshot.digest)
    assert data["data"][0]["governance"] == {
        "owners": [{"organization": {"name": "oncology"}}, {"contact": {"email": "a@b.org"}}]
    }
    rows = {each["name"]: each["value"] for each in data["data"][0]["contents"]["properties"]}
    assert rows["mlops:rows"] == str(world.snapshot.rows)


def test_the_model_card_says_what_is_declared_and_how_groups_differ(world: World) -> None:
    said = Card(intended_use="A second opinion.", limits=("Not a diagnosis.",))
    spec = world.spec.model_copy(update={"description": "Malignant or benign.", "card": said})
    known = Gap("accuracy_difference", "site", 0.25, 0.1, 0.4, ("north", "south"), (), {})
    unknown = Gap("accuracy_difference", "age", None, None, None, None, (), {"old": 3})
    content = bill_of_materials(
        spec,
        world.registry.version(MODEL, 2),
        world.snapshot,
        world.bundle(2),
        replace(evaluated(world, 2), fairness=(known, unknown)),
    )

    card = json.loads(content)["metadata"]["component"]["modelCard"]["considerations"]
    assert card["useCases"] == ["A second opinion."]
    assert card["technicalLimitations"][0] == "Not a diagnosis."
    assert len(card["technicalLimitations"]) > 1
    assert card["fairnessAssessments"] == [
        {
            "groupAtRisk": "site: north and south",
            "harms": "accuracy_difference 0.25 (95 % interval 0.1 to 0.4)",
        }
    ]


def test_it_is_attached_to_the_version_and_signed_where_there_is_a_key(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops_pipelines.serve.verify import public_key_of, signed_files
    from tests.release.test_signing import keys

    # Asked for before there is a key, so that the shared bundle stays unsigned.
    bundle, evaluation = world.bundle(3), evaluated(world, 3)

    def attach(version: int) -> str:
        return attach_bill_of_materials(
            world.registry, world.spec, version, world.snapshot, bundle, evaluation
        )

    record_digest = seal(world.registry, world.store, MODEL, 3)
    digest = attach(3)
    assert attach(3) == digest
    tags = world.registry.version(MODEL, 3).tags
    assert (tags[record.BOM], tags[RECORD]) == (digest, record_digest)
    path = world.registry.fetch(MODEL, 3, "bom.cdx.json")
    assert record.file_hash(path) == digest
    assert record_digest in path.read_text()

    signing, verifying = keys(tmp_path / "keys")
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(signing))
    assert attach(3) == digest
    signature = world.registry.fetch(MODEL, 3, "bom.cdx.json.sig").read_bytes()
    assert signed_files(signature, public_key_of(str(verifying))) == {".": digest}


def test_a_document_that_is_no_cyclonedx_is_told_by_where(world: World) -> None:
    said = made_of(world)
    assert invalid(json.dumps(said)) == ""
    said["metadata"]["component"]["modelCard"]["mood"] = "good"
    assert invalid(json.dumps(said)).startswith("$.metadata.component.modelCard: ")
    # An owner that is no e-mail address: the schema is strict about formats too.
    broken = world.spec.model_copy(update={"owners": ("nobody",)})
    with pytest.raises(ReleaseError, match=r"cancer version 2: its bill of materials is no Cyc"):
        made_of(world, broken)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """An example model of the project, trained and released into a store of the test's own."""
    home = tmp_path_factory.mktemp("examples")
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    store = Store(str(home / "store"))

    def trained(name: str) -> tuple[ModelSpec, Version, Snapshot, Path, Evaluation]:
        spec, folder = example_spec(name), ROOT / "assets" / name
        source = spec.data.source
        snapshot = freeze(load_rows(source, ROOT, folder), spec, store, describe(source))
        rows = read_rows(store, snapshot)
        with registry.training(name, {}) as run:
            fitted = fit(spec, snapshot, rows.train, rows.holdout, ROOT, folder)
            profile = reference_profile(rows.train, profile_columns(snapshot))
            behind = record.provenance(ROOT)
            version = registry.log_version(
                run, fitted, snapshot, {}, Reference.alone(profile), behind, ""
            )
        seal(registry, store, name, version)
        bundle = build_bundle(registry, store, ROOT, spec, version).folder
        predictor = open_predictor(registry, store, name, version)
        result = evaluate(spec, snapshot, rows.holdout, predictor, None, None)
        return spec, registry.version(name, version), snapshot, bundle, result

    return trained


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_valid_for_every_example_model(example: Callable[[str], Any], name: str) -> None:
    spec, version, snapshot, bundle, evaluation = example(name)

    content = bill_of_materials(spec, version, snapshot, bundle, evaluation)

    assert invalid(content.decode()) == ""
    said = json.loads(content)
    card = said["metadata"]["component"]["modelCard"]
    family = card["modelParameters"]["architectureFamily"]
    architecture = card["modelParameters"]["modelArchitecture"]
    assert f"{family}:{architecture}" == spec.estimator.python
    locked = [
        line for line in (bundle / "requirements.lock").read_text().splitlines() if "==" in line
    ]
    packages = [each for each in said["components"] if each["type"] == "library"]
    assert len(packages) == len(locked) > 5
    assert all(each["hashes"] for each in packages)
    sliced = {
        m["slice"] for m in card["quantitativeAnalysis"]["performanceMetrics"] if "slice" in m
    }
    assert bool(sliced) == bool(spec.data.segments)
    assert datetime.fromisoformat(said["metadata"]["timestamp"]) < datetime.now(UTC)
