from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest

from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.record import file_hash
from mlops_pipelines.release.bundle import _write_manifest
from mlops_pipelines.release.security.assess import assess
from mlops_pipelines.release.security.contents import harmful_contents
from mlops_pipelines.release.security.packages import packages
from mlops_pipelines.release.security.report import Finding, SecurityReport, Seen
from mlops_pipelines.release_spec import Security
from mlops_pipelines.serve.predictor import Predictor
from mlops_pipelines.spec import ModelSpec
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


def look(bundle: Path, params: dict[str, str] | None = None) -> SecurityReport:
    """What is seen in the files alone."""
    files = Seen(list(harmful_contents(bundle, params or {})))
    lock = packages(bundle / "requirements.lock", "3.11.9", None)
    return SecurityReport.of([files, lock], Security())


def test_nothing_is_found_in_real_bundles(shared: World) -> None:
    for version in (1, 2, 3):
        params = {"learning_rate": "0.1", "token_pattern": "(?u)\\b\\w\\w+\\b"}
        report = look(shared.bundle(version), params)
        assert report == SecurityReport(())
        assert report.secure
        assert report.markdown() == report.sentence


def test_not_even_by_opening_it_does_a_bundle_change(bundle: Path) -> None:
    before = {path: file_hash(path) for path in bundle.rglob("*") if path.is_file()}
    look(bundle)
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
    report = look(bundle)
    assert found(report) == [(severity, kind, evidence)]
    assert report.secure == (severity == "low")
    assert report.sentence == f"1 {severity}; first: {kind}, {evidence}"
    assert f"| {severity} | {kind} | {evidence} |" in report.markdown()


def test_a_secret_is_named_by_its_place_and_never_shown(bundle: Path) -> None:
    plant_password(bundle)
    seal(bundle)
    report = look(bundle, {"api_key": "0123456789abcdef", "depth": "3"})
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
    assert found(look(bundle)) == [
        ("critical", "foreign file", "code/extra.py is not in manifest.json"),
        ("critical", "altered file", "expectations.json is missing"),
        ("critical", "altered file", "golden.json is not what was bundled"),
    ]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"is no bundle: bundle.json or manifest.json"):
        look(tmp_path)


def onnx_file(path: Path, domain: str = "", outside: bool = False) -> None:
    """A model that adds a constant, by an operator of `domain` where one is named."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constant = numpy_helper.from_array(np.ones(2, dtype=np.float32), "one")
    if outside:
        onnx.external_data_helper.set_external_data(constant, "/etc/hostname")
        constant.ClearField("raw_data")
        constant.data_location = TensorProto.EXTERNAL
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [constant],
    )
    imports = [helper.make_opsetid("", 18)]
    imports += [helper.make_opsetid(domain, 1)] if domain else []
    onnx.save_model(helper.make_model(graph, opset_imports=imports), str(path))


def plant_custom_operator(bundle: Path) -> None:
    onnx_file(bundle / "model.onnx", domain="com.example")


def plant_external_data(bundle: Path) -> None:
    onnx_file(bundle / "model.onnx", outside=True)


def plant_broken_onnx(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"\x0a\xff\xff\xff")


def plant_no_model(bundle: Path) -> None:
    (bundle / "model.skops").unlink()


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (lambda bundle: onnx_file(bundle / "model.onnx"), []),
        (
            plant_custom_operator,
            [("high", "custom operator", "operators of domain com.example in model.onnx")],
        ),
        (
            plant_external_data,
            [("high", "external data", "1 tensors of model.onnx lie in other files")],
        ),
        (
            plant_broken_onnx,
            [("critical", "unreadable model file", "model.onnx: DecodeError")],
        ),
        (
            plant_no_model,
            [
                (
                    "critical",
                    "unreadable model file",
                    "there is neither model.skops nor model.onnx",
                )
            ],
        ),
    ],
)
def test_what_an_onnx_file_would_bring_in_is_found(
    bundle: Path, plant: Callable[[Path], None], expected: list[tuple[str, str, str]]
) -> None:
    plant(bundle)
    seal(bundle)
    assert found(look(bundle)) == expected


def assessed(shared: World, bundle: Path, spec: ModelSpec) -> tuple[SecurityReport, list[str]]:
    steps: list[str] = []

    def during(name: str) -> AbstractContextManager[None]:
        steps.append(name)
        return nullcontext()

    def opened() -> Predictor:
        return Predictor.load(bundle)

    report = assess(bundle, spec, shared.snapshot, shared.rows, opened, during=during)
    return report, steps


def test_a_real_version_is_assessed_and_nothing_is_found(shared: World) -> None:
    report, steps = assessed(shared, shared.bundle(3), shared.spec)
    assert report.findings == ()
    assert report.secure
    assert steps == [
        "files",
        "packages",
        "personal data",
        "leakage",
        "twins",
        "membership",
        "noise",
        "attack",
    ]
    assert [measure.name for measure in report.measures] == [
        "best_single_feature",
        "holdout_twins",
        "holdout_twins_excess",
        "membership_advantage",
        "noise_0.05",
        "noise_0.1",
        "noise_0.25",
        "attack_move",
    ]
    page = report.markdown()
    assert page.startswith("nothing found")
    assert "data:image/svg+xml;base64," in page
    kept = json.loads(json.dumps(report.as_dict()))
    assert (kept["schema"], kept["secure"], kept["findings"]) == (1, True, [])
    assert kept["measures"] == [asdict(measure) for measure in report.measures]


def test_a_model_that_would_run_code_is_not_opened(shared: World, bundle: Path) -> None:
    plant_pickle_by_name(bundle)
    seal(bundle)
    report, steps = assessed(shared, bundle, shared.spec)
    assert found(report) == [("critical", "pickle", "code/weights.joblib")]
    assert "membership" not in steps


def test_a_model_that_fails_is_said_to_be_unknown(shared: World) -> None:
    shared.fault.touch()
    report, _ = assessed(shared, shared.bundle(2), shared.spec)
    shared.fault.unlink()
    assert {(severity, kind) for severity, kind, _ in found(report)} == {("medium", "not assessed")}
    assert [evidence.split(":")[0] for _, _, evidence in found(report)] == [
        "membership",
        "noise",
        "attack",
    ]


def policy(**said: object) -> Security:
    return Security.model_validate(said)


@pytest.mark.parametrize(
    ("said", "blocking"),
    [
        ({}, ["a", "b"]),
        ({"block_on": "critical"}, ["a"]),
        ({"block_on": "medium"}, ["a", "b", "c"]),
        ({"block_on": "low"}, ["a", "b", "c", "d"]),
        ({"block_on": "none"}, []),
        ({"accept": [{"kind": "secret", "reason": "a test key"}]}, ["a"]),
    ],
)
def test_the_declaration_says_what_blocks(said: dict[str, object], blocking: list[str]) -> None:
    seen = Seen(
        [
            Finding("low", "no lock", "d", "r"),
            Finding("high", "secret", "b", "r"),
            Finding("critical", "pickle", "a", "r"),
            Finding("medium", "membership shows", "c", "r"),
        ]
    )
    report = SecurityReport.of([seen], policy(**said))
    assert [finding.evidence for finding in report.blocking] == blocking
    assert report.secure == (not blocking)
    assert [finding.evidence for finding in report.findings] == ["a", "b", "c", "d"]
    assert [each["blocks"] for each in report.as_dict()["findings"]] == [
        finding.evidence in blocking for finding in report.findings
    ]


def test_an_accepted_finding_is_shown_with_its_reason() -> None:
    accept = [{"kind": "secret", "reason": "a test key | public"}]
    seen = Seen([Finding("high", "secret", "in a.py", "revoke it")])
    report = SecurityReport.of([seen], policy(accept=accept))
    assert report.secure
    assert report.sentence == "1 accepted"
    assert "| in a.py | accepted: a test key \\| public |" in report.markdown()


@pytest.mark.parametrize("kind", ["pickle", "altered file", "unreadable model file", "unheard of"])
def test_what_nobody_may_accept_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="accept"):
        policy(accept=[{"kind": kind, "reason": "trust me"}])
