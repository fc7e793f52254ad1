from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.record import file_hash
from mlops_pipelines.release.bundle import _write_manifest
from mlops_pipelines.release.security import SecurityReport, assess
from tests.release.conftest import World

GUARDED = "assets.cancer.pipeline.Guarded"


@pytest.fixture
def bundle(shared: World, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(shared.bundle(2), folder)
    return folder


def seal(bundle: Path) -> None:
    """Plant a fault as a builder would, not as an intruder: the hashes are right."""
    (bundle / "manifest.json").unlink()
    _write_manifest(bundle)


def about(bundle: Path, **changes: object) -> None:
    said = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(said | changes))


def found(report: SecurityReport) -> list[tuple[str, str, str]]:
    return [(f.severity, f.kind, f.evidence) for f in report.findings]


def test_nothing_is_found_in_real_bundles(shared: World) -> None:
    for version in (1, 2, 3):
        params = {"learning_rate": "0.1", "token_pattern": "(?u)\\b\\w\\w+\\b"}
        report = assess(shared.bundle(version), params)
        assert report == SecurityReport(())
        assert report.secure
        assert report.markdown() == report.sentence


def test_not_even_by_opening_it_does_a_bundle_change(bundle: Path) -> None:
    before = {path: file_hash(path) for path in bundle.rglob("*") if path.is_file()}
    assess(bundle)
    assert {path: file_hash(path) for path in bundle.rglob("*") if path.is_file()} == before


def plant_untrusted_type(bundle: Path) -> None:
    about(bundle, trusted_types=[])


def plant_foreign_type(bundle: Path) -> None:
    about(bundle, trusted_types=[GUARDED, "os.system"])


def plant_type_whose_code_is_missing(bundle: Path) -> None:
    (bundle / "code" / "assets" / "cancer" / "pipeline.py").unlink()


def plant_unreadable_model(bundle: Path) -> None:
    (bundle / "model.skops").write_bytes(b"PK not a zip")


def plant_pickle_by_name(bundle: Path) -> None:
    (bundle / "code" / "weights.joblib").write_bytes(b"\0")


def plant_pickle_by_content(bundle: Path) -> None:
    (bundle / "code" / "weights.bin").write_bytes(pickle.dumps({"a": 1}, protocol=4))


def plant_old_pickle(bundle: Path) -> None:
    (bundle / "code" / "weights.bin").write_bytes(pickle.dumps({"a": 1}, protocol=2))


def plant_objects_in_the_model(bundle: Path) -> None:
    import numpy as np

    array = bundle.parent / "objects.npy"
    np.save(array, np.array([{}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(bundle / "model.skops", "a") as archive:
        archive.write(array, "objects.npy")


def plant_empty_lock(bundle: Path) -> None:
    (bundle / "requirements.lock").write_text("# nothing\n")


def plant_loose_lock(bundle: Path) -> None:
    (bundle / "requirements.lock").write_text("numpy>=2\nskops==0.16 --hash=sha256:00\n")


def plant_lock_without_hashes(bundle: Path) -> None:
    (bundle / "requirements.lock").write_text("numpy==2.4\nskops==0.16\n")


def plant_password(bundle: Path) -> None:
    file = bundle / "code" / "assets" / "cancer" / "pipeline.py"
    file.write_text(file.read_text() + '\nDB_PASSWORD = "correct-horse"\n')


def plant_url(bundle: Path) -> None:
    about(bundle, source="postgresql://ann:hunter2@db/churn")


def plant_private_key(bundle: Path) -> None:
    (bundle / "code" / "key.txt").write_text("-----BEGIN " + "RSA PRIVATE KEY-----\n")


def plant_cloud_key(bundle: Path) -> None:
    (bundle / "code" / "key.txt").write_text("id\nAKIA" + "ABCDEFGHIJKLMNOP\n")


@pytest.mark.parametrize(
    ("plant", "severity", "kind", "evidence"),
    [
        (
            plant_untrusted_type,
            "high",
            "untrusted type",
            f"{GUARDED} in model.skops",
        ),
        (
            plant_foreign_type,
            "high",
            "foreign type",
            "os.system is trusted, and is neither scikit-learn's nor this model's",
        ),
        (
            plant_type_whose_code_is_missing,
            "high",
            "foreign type",
            f"{GUARDED} is trusted, and is neither scikit-learn's nor this model's",
        ),
        (plant_unreadable_model, "critical", "unreadable model file", "model.skops: BadZipFile"),
        (plant_pickle_by_name, "critical", "pickle", "code/weights.joblib"),
        (plant_pickle_by_content, "critical", "pickle", "code/weights.bin"),
        (plant_old_pickle, "critical", "pickle", "code/weights.bin"),
        (plant_objects_in_the_model, "critical", "pickle", "objects.npy in model.skops"),
        (plant_empty_lock, "low", "no lock", "requirements.lock pins nothing"),
        (plant_loose_lock, "low", "unpinned package", "numpy"),
        (plant_lock_without_hashes, "low", "package without hash", "numpy, skops"),
        (plant_url, "high", "secret", "URL with a password at bundle.json:1"),
        (plant_private_key, "high", "secret", "private key at code/key.txt:1"),
        (plant_cloud_key, "high", "secret", "cloud access key at code/key.txt:2"),
    ],
)
def test_each_planted_fault_is_found_and_nothing_else(
    bundle: Path, plant: Callable[[Path], None], severity: str, kind: str, evidence: str
) -> None:
    plant(bundle)
    seal(bundle)
    report = assess(bundle)
    assert found(report) == [(severity, kind, evidence)]
    assert report.secure == (severity == "low")
    assert report.sentence == f"1 {severity}; first: {kind}, {evidence}"
    assert f"| {severity} | {kind} | {evidence} |" in report.markdown()


def test_a_secret_is_named_by_its_place_and_never_shown(bundle: Path) -> None:
    plant_password(bundle)
    seal(bundle)
    report = assess(bundle, {"api_key": "0123456789abcdef", "depth": "3"})
    assert [(kind, evidence) for _, kind, evidence in found(report)] == [
        ("secret", "password or token at code/assets/cancer/pipeline.py:29"),
        ("secret", "password or token at parameter api_key"),
    ]
    assert "horse" not in report.markdown()
    assert "0123456789abcdef" not in report.markdown()


def test_files_that_were_altered_added_or_removed_are_found(bundle: Path) -> None:
    with (bundle / "golden.json").open("a") as stream:
        stream.write(" ")
    (bundle / "code" / "extra.py").write_text("")
    (bundle / "expectations.json").unlink()
    assert found(assess(bundle)) == [
        ("critical", "foreign file", "code/extra.py is not in manifest.json"),
        ("critical", "altered file", "expectations.json is missing"),
        ("critical", "altered file", "golden.json is not what was bundled"),
    ]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"is no bundle: bundle.json or manifest.json"):
        assess(tmp_path)
