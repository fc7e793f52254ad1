"""Every kind of tampering is found and named; nothing is said of an untouched version."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mlops_pipelines import record
from mlops_pipelines.explain.books import open_books
from mlops_pipelines.explain.event_log import EventLog
from mlops_pipelines.explain.proof import Proof
from mlops_pipelines.explain.publish import folder_of, publish
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.explain.verify import verify
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.measure.profile import reference_profile
from mlops_pipelines.release.bill_of_materials import attach_bill_of_materials
from mlops_pipelines.release.bundle import build_bundle, open_predictor
from mlops_pipelines.release.evaluate import evaluate
from mlops_pipelines.release.evaluation_record import EVALUATION, evaluation_document
from mlops_pipelines.release.signing import sign_stored
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.store import Store
from mlops_pipelines.train.facts import canonical, record_digest, seal
from mlops_pipelines.train.fit import fit
from mlops_pipelines.train.kept import as_json, keep_hashed
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import freeze, profile_columns, read_rows

MODEL = "cancer"
SPEC = {
    "name": MODEL,
    "task": "binary_classification",
    "data": {"source": {"python": "sklearn.datasets:load_breast_cancer"}, "target": "target"},
    "estimator": {"python": "pipeline:build", "cross_validation": 0},
}
PIPELINE = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def build():
    return make_pipeline(StandardScaler(), LogisticRegression())
"""
LOCK = (
    f"numpy==2.4.6 \\\n    --hash=sha256:{'0' * 64}\nscikit-learn==1.9.1 --hash=sha256:{'1' * 64}\n"
)


@dataclass(frozen=True)
class Sealed:
    """A project whose model has two versions, each with facts, bundle, signature and BOM."""

    root: Path
    database: Path
    registry: Registry
    store: Store

    def proofs(self, version: int = 1) -> tuple[Proof, ...]:
        return verify(self.registry, self.store, self.root, MODEL, version)

    def broken(self, version: int = 1) -> list[str]:
        return [proof.thing for proof in self.proofs(version) if not proof.holds]

    def bundle(self, version: int = 1) -> Path:
        digest = self.registry.version(MODEL, version).tags[record.BUNDLE]
        return self.root / "store" / "bundles" / MODEL / digest[:16]

    def snapshot(self) -> Path:
        return next((self.root / "store" / "snapshots" / MODEL).iterdir())

    def artifact(self, name: str) -> Path:
        return self.registry.fetch(MODEL, 1, name)

    def sql(self, statement: str, *values: str) -> None:
        with sqlite3.connect(self.database) as connection:
            changed = connection.execute(statement, values).rowcount
        connection.close()
        assert changed > 0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    private = ec.generate_private_key(ec.SECP256R1())
    (folder / "signing.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "verify.pem").write_bytes(public)
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> tuple[Path, Path]:
    """The project, and a copy of it to mend what a test did."""
    from sklearn.datasets import load_breast_cancer

    root = tmp_path_factory.mktemp("sealed") / "project"
    folder = root / "assets" / MODEL
    folder.mkdir(parents=True)
    (folder / "pipeline.py").write_text(PIPELINE)
    (root / "requirements.lock").write_text(LOCK)
    spec = ModelSpec.model_validate(SPEC)
    store = Store(str(root / "store"))
    registry = Registry(f"sqlite:///{root}/mlflow.db", str(root / "artifacts"))
    sources = Sources(open_books(registry.tracking_uri), EventLog("sqlite:///no"), store)
    snapshot = freeze(load_breast_cancer(as_frame=True).frame, spec, store, "sklearn")
    rows = read_rows(store, snapshot)
    profile = reference_profile(rows.train, profile_columns(snapshot))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_SIGNING_KEY", str(keys / "signing.pem"))
        for version in (1, 2):
            with registry.training(MODEL, {}) as run:
                fitted = fit(spec, snapshot, rows.train, rows.holdout, root, folder)
                registry.log_version(
                    run, fitted, snapshot, {}, Reference.alone(profile), record.provenance(root), ""
                )
            assert seal(registry, store, MODEL, version) == seal(registry, store, MODEL, version)
            bundle = build_bundle(registry, store, root, spec, version)
            sign_stored(store, bundle.key, bundle.digest)
            predictor = open_predictor(registry, store, MODEL, version)
            result = evaluate(spec, snapshot, rows.holdout, predictor, None, None)
            attach_bill_of_materials(registry, spec, version, snapshot, bundle.folder, result)
            document = as_json(evaluation_document(result))
            keep_hashed(registry, MODEL, version, {EVALUATION: document})
            registry.tag(MODEL, version, {record.GATES: "passed"})
            publish(sources, registry, MODEL, version, "roc_auc")
            registry.set_alias(MODEL, record.CHAMPION, version)
            registry.tag(MODEL, version, {record.DEPLOYED_AT: f"2026-03-0{version}"})
    untouched = root.with_name("untouched")
    shutil.copytree(root, untouched, ignore=shutil.ignore_patterns("__pycache__"))
    return root, untouched


@pytest.fixture
def sealed(template: tuple[Path, Path], tmp_path: Path) -> Iterator[Sealed]:
    """The project as it was sealed, with an MLflow database of the test's own."""
    root, untouched = template
    database = tmp_path / "mlflow.db"
    shutil.copyfile(untouched / "mlflow.db", database)
    registry = Registry(f"sqlite:///{database}", str(root / "artifacts"))
    yield Sealed(root, database, registry, Store(str(root / "store")))
    # The database names the artifacts by their place.
    shutil.rmtree(root)
    shutil.copytree(untouched, root)


@pytest.fixture
def verify_key(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(keys / "verify.pem"))


def test_a_proof_holds_where_the_thing_is_as_recorded() -> None:
    assert Proof("bundle", "01", "01").holds
    assert not Proof("bundle", "01", "02").holds


def test_an_untouched_version_holds_in_everything(sealed: Sealed, verify_key: None) -> None:
    for version in (1, 2):
        proofs = sealed.proofs(version)
        assert [proof.thing for proof in proofs] == [
            "snapshot",
            "record",
            "snapshot file",
            "version",
            "parameter",
            "metric",
            "tag",
            "tag of the run",
            "MLflow file",
            "file",
            "stored file",
            "gates",
            *(["alias champion"] if version == 2 else []),
            "bundle",
            "bundle file",
            "bundle.json",
            "signature",
            "bill of materials",
            "bill of materials says",
            "bill of materials signature",
            "lock file",
        ]
        assert all(proof.holds for proof in proofs)


def test_without_a_key_hashes_alone_are_compared(sealed: Sealed) -> None:
    things = {proof.thing for proof in sealed.proofs()}
    assert "signature" not in things
    assert "bill of materials signature" not in things
    assert not sealed.broken()


def test_what_changes_in_a_versions_life_is_no_tampering(sealed: Sealed, verify_key: None) -> None:
    tags = {record.QUARANTINED: "worse", record.DEPLOYED_BY: "ann"}
    sealed.registry.tag(MODEL, 1, tags | {record.DEPLOYED_AT: "2026-03-03"})
    sealed.registry.set_alias(MODEL, record.CHAMPION, 1)
    (sealed.root / "requirements.lock").write_text("numpy==3\n")
    assert sealed.broken() == ["lock file"]


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[min(len(content) - 1, int(len(content) * at))] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, text: str, other: str) -> None:
    """Put `other` in place of the first `text`."""
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, other, 1))


def footer(sealed: Sealed) -> None:
    """A byte of the Parquet file that no row depends on: who wrote it."""
    path = sealed.snapshot() / "data.parquet"
    content = path.read_bytes()
    place = content.rindex(b"parquet-cpp")
    path.write_bytes(content[:place] + b"Parquet-cpp" + content[place + len(b"parquet-cpp") :])


def rewrite_manifest(folder: Path) -> None:
    """Let the list fit altered files, as one would who wants to hide it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = record.file_hash(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def altered_and_listed(sealed: Sealed) -> None:
    flip(sealed.bundle() / "golden.json")
    rewrite_manifest(sealed.bundle())


def forged_facts(sealed: Sealed) -> None:
    """Facts and their tag agree, and say something else than what was sealed."""
    path = sealed.artifact("facts.json")
    facts = json.loads(path.read_text())
    facts["metrics"]["roc_auc"] = "1.0"
    path.write_bytes(canonical(facts))
    sealed.registry.tag(MODEL, 1, {"mlops.record_digest": record_digest(facts)})
    for table in ("metrics", "latest_metrics"):
        sealed.sql(f"UPDATE {table} SET value = 1.0 WHERE key = 'roc_auc'")


def swapped(sealed: Sealed) -> None:
    """The version is made to name the other version's bundle, which is sound in itself."""
    other = sealed.registry.version(MODEL, 2).tags[record.BUNDLE]
    sealed.registry.tag(MODEL, 1, {record.BUNDLE: other})


def set_tag(table: str, name: str) -> Callable[[Sealed], None]:
    return lambda sealed: sealed.sql(f"UPDATE {table} SET value = 'x' WHERE key = ?", name)


def set_metric(sealed: Sealed) -> None:
    for table in ("metrics", "latest_metrics"):
        sealed.sql(f"UPDATE {table} SET value = value + 1e-9 WHERE key = 'roc_auc'")


def flip_artifact(name: str) -> Callable[[Sealed], None]:
    return lambda sealed: flip(sealed.artifact(name))


def flip_bundled(name: str) -> Callable[[Sealed], None]:
    return lambda sealed: flip(sealed.bundle() / name)


def model_file(sealed: Sealed) -> Path:
    return next(sealed.bundle().glob("model.[os]*[px]*"))


TAMPERED: dict[str, tuple[Callable[[Sealed], object], set[str]]] = {
    "a byte of the snapshot's rows": (
        lambda s: flip(s.snapshot() / "data.parquet", 0.3),
        {"snapshot file data.parquet"},
    ),
    "a byte of the snapshot's Parquet that is no row": (footer, {"snapshot file data.parquet"}),
    "the snapshot's description": (
        lambda s: flip(s.snapshot() / "snapshot.json", 0.9),
        {"snapshot file snapshot.json"},
    ),
    "the snapshot taken away": (
        lambda s: shutil.rmtree(s.snapshot()),
        {"snapshot", "snapshot file data.parquet", "snapshot file snapshot.json"},
    ),
    "the bundle's model": (
        lambda s: flip(model_file(s)),
        {"bundle file model.*", "signature model.*"},
    ),
    "the lock inside the bundle": (
        flip_bundled("requirements.lock"),
        {"bundle file requirements.lock", "signature requirements.lock"},
    ),
    "the server's code": (
        flip_bundled("code/mlops_pipelines/serve/app.py"),
        {
            "bundle file code/mlops_pipelines/serve/app.py",
            "signature code/mlops_pipelines/serve/app.py",
        },
    ),
    "a blank in the bundle's list": (
        lambda s: (s.bundle() / "manifest.json").write_text(
            (s.bundle() / "manifest.json").read_text() + " "
        ),
        {"bundle file manifest.json", "signature manifest.json"},
    ),
    "a bundle's file and its list": (
        altered_and_listed,
        {"bundle", "signature golden.json", "signature manifest.json"},
    ),
    "a file added to the bundle": (
        lambda s: (s.bundle() / "code" / "numpy.py").write_text("x = 1"),
        {"bundle file code/numpy.py", "signature code/numpy.py"},
    ),
    "a file taken from the bundle": (
        lambda s: (s.bundle() / "golden.json").unlink(),
        {"bundle file golden.json", "signature golden.json"},
    ),
    "the bundle taken away": (lambda s: shutil.rmtree(s.bundle()), {"bundle"}),
    "another version's bundle": (
        swapped,
        {
            "bundle.json run_id",
            "bundle.json version",
            "bill of materials says mlops.bundle_digest",
        },
    ),
    "the signature": (flip_bundled("model.sig"), {"signature"}),
    "no signature": (lambda s: (s.bundle() / "model.sig").unlink(), {"signature"}),
    "the model file in MLflow": (
        flip_artifact("model/model.skops"),
        {"MLflow file model/model.*"},
    ),
    "a file added to the model in MLflow": (
        lambda s: (s.artifact("model") / "extra.py").write_text(""),
        {"MLflow file model/extra.py"},
    ),
    "the golden rows in MLflow": (flip_artifact("golden.json"), {"MLflow file golden.json"}),
    "the profile in MLflow": (flip_artifact("profile.json"), {"MLflow file profile.json"}),
    "the suite in MLflow": (
        lambda s: s.artifact("suite.json").write_text("{ }\n"),
        {"MLflow file suite.json"},
    ),
    "the model's own code in MLflow": (
        flip_artifact("code/pipeline.py"),
        {"MLflow file code/pipeline.py"},
    ),
    "a tag of the version": (
        set_tag("model_version_tags", record.GIT_COMMIT),
        {"tag mlops.git_commit", "bundle.json git_commit"},
    ),
    "a tag of the run": (
        set_tag("tags", record.PYTHON),
        {"tag of the run mlops.python"},
    ),
    "a parameter": (
        lambda s: s.sql("UPDATE params SET value = 'x' WHERE key = 'estimator'"),
        {"parameter estimator"},
    ),
    "a metric, in its ninth digit": (set_metric, {"metric roc_auc"}),
    "the time of registration": (
        lambda s: s.sql("UPDATE model_versions SET creation_time = creation_time - 1000"),
        {"version created"},
    ),
    "the facts": (flip_artifact("facts.json"), {"record"}),
    "the facts and their hash": (forged_facts, {"bill of materials says mlops.record_digest"}),
    "the facts taken away": (lambda s: s.artifact("facts.json").unlink(), {"record"}),
    "the facts' hash": (
        set_tag("model_version_tags", "mlops.record_digest"),
        {"record", "bill of materials says mlops.record_digest"},
    ),
    "the bill of materials": (
        lambda s: rewrite(s.artifact("bom.cdx.json"), "machine-learning-model", "application"),
        {"bill of materials", "bill of materials signature ."},
    ),
    "the bill of materials, so that it cannot be read": (
        lambda s: rewrite(s.artifact("bom.cdx.json"), "{", "["),
        {"bill of materials", "bill of materials: its content", "bill of materials signature ."},
    ),
    "the bill of materials taken away": (
        lambda s: s.artifact("bom.cdx.json").unlink(),
        {"bill of materials"},
    ),
    "what the evaluation found": (
        lambda s: s.artifact("evaluation.json").write_text(
            s.artifact("evaluation.json").read_text().replace('"rows": 1', '"rows": 2', 1)
        ),
        {"file evaluation.json"},
    ),
    "the published record": (flip_artifact("record.json"), {"file record.json"}),
    "the record's page in the store": (
        lambda s: flip(s.root / "store" / folder_of(MODEL, 1) / "record.html"),
        {"stored file record.html"},
    ),
    "the record's page taken away": (
        lambda s: (s.root / "store" / folder_of(MODEL, 1) / "record.html").unlink(),
        {"stored file record.html"},
    ),
    "the verdict of the gates": (
        lambda s: s.sql(
            "UPDATE model_version_tags SET value = 'refused: x' WHERE value = 'passed'"
        ),
        {"gates"},
    ),
    "the alias of what serves": (
        lambda s: s.registry.set_alias(MODEL, record.CHAMPION, 1),
        {"alias champion"},
    ),
    "the signature of the bill of materials": (
        flip_artifact("bom.cdx.json.sig"),
        {"bill of materials signature"},
    ),
}


def test_an_alias_that_was_moved_is_told_of_both_versions(sealed: Sealed) -> None:
    sealed.registry.set_alias(MODEL, record.CHAMPION, 1)

    for version in (1, 2):
        proof = next(each for each in sealed.proofs(version) if each.thing == "alias champion")
        assert (proof.recorded, proof.found) == ("version 2", "version 1")


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_found_and_named(sealed: Sealed, verify_key: None, how: str) -> None:
    tamper, named = TAMPERED[how]
    tamper(sealed)

    found = {re.sub(r"model\.(skops|onnx)$", "model.*", thing) for thing in sealed.broken()}
    if "snapshot's" in how:
        # Whether the rows themselves have changed depends on which byte it was.
        found -= {"snapshot"}
    assert found == named


def test_a_version_that_was_never_sealed_is_compared_as_far_as_it_goes(
    sealed: Sealed,
) -> None:
    for name in ("facts.json", "bom.cdx.json", "evaluation.json"):
        sealed.artifact(name).unlink()
    for tag in ("mlops.record_digest", "mlops.bom_digest", "mlops.sha256.%", "mlops.deployed_at"):
        for table in ("tags", "model_version_tags"):
            sealed.sql(f"DELETE FROM {table} WHERE key LIKE ?", tag)

    things = [proof.thing for proof in sealed.proofs()]
    assert things == ["snapshot", "bundle", "bundle file", "bundle.json", "lock file"]
    assert not sealed.broken()


def test_a_file_that_was_not_sealed_at_the_time_is_no_tampering(sealed: Sealed) -> None:
    later = sealed.artifact("golden.json").with_name("estimator.json")
    later.write_text("{}")
    assert not sealed.broken()

    later.with_name("suite.txt").write_text("{}")
    sealed.artifact("model").joinpath("estimator.json").write_text("{}")
    assert sealed.broken() == ["MLflow file model/estimator.json"]


def test_a_record_has_one_digest_however_it_is_ordered() -> None:
    facts = {"params": {"b": "2", "a": "ä"}, "tags": {}}
    assert record_digest(facts) == record_digest({"tags": {}, "params": {"a": "ä", "b": "2"}})
    assert canonical(facts) == '{"params":{"a":"ä","b":"2"},"tags":{}}'.encode()
    assert record_digest(facts) != record_digest({"params": {"b": "2", "a": "a"}, "tags": {}})
