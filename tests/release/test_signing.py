from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mlops_pipelines import record
from mlops_pipelines.errors import ReleaseError, TargetError
from mlops_pipelines.release.signing import check, sign, sign_stored, verify_environment
from mlops_pipelines.serve.verify import HASHES_ONLY, fingerprint, public_key_of
from mlops_pipelines.store import Store
from tests.release.conftest import MODEL, World


def keys(
    folder: Path,
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    encryption: KeySerializationEncryption | None = None,
) -> tuple[Path, Path]:
    """A new pair of PEM files: to sign, to verify."""
    folder.mkdir(exist_ok=True)
    private = private or ec.generate_private_key(ec.SECP384R1())
    signing, verifying = folder / "signing.pem", folder / "verify.pem"
    encryption = encryption or NoEncryption()
    signing.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    verifying.write_bytes(public)
    return signing, verifying


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A pair of keys that the environment names."""
    signing, verifying = keys(tmp_path / "keys")
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(signing))
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(verifying))
    return signing, verifying


@pytest.fixture
def bundle(world: World, tmp_path: Path) -> Path:
    """A bundle of the test's own."""
    folder = tmp_path / "bundle"
    shutil.copytree(world.bundle(2), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def digest_of(world: World) -> str:
    return world.registry.version(MODEL, 2).tags[record.BUNDLE]


def test_without_keys_nothing_is_signed_and_hashes_are_checked(world: World, bundle: Path) -> None:
    assert not sign(bundle)
    assert not (bundle / "model.sig").exists()
    assert check(bundle, digest_of(world)) == HASHES_ONLY
    assert verify_environment() == {}


def test_what_is_signed_is_accepted_and_the_digest_stays(
    world: World, bundle: Path, pair: tuple[Path, Path]
) -> None:
    assert sign(bundle)
    mine = fingerprint(public_key_of(str(pair[1])))[:16]
    assert check(bundle, digest_of(world)).startswith(f"signed by key {mine}, which covers ")


def test_pythons_caches_are_removed_before_the_check(bundle: Path, pair: object) -> None:
    sign(bundle)
    cache = bundle / "code" / "assets" / MODEL / "__pycache__"
    cache.mkdir()
    (cache / "pipeline.cpython-311.pyc").write_bytes(b"planted")

    assert check(bundle).startswith("signed by key ")
    assert not cache.exists()


def test_a_whole_other_bundle_is_refused(world: World, bundle: Path, pair: object) -> None:
    sign(bundle)
    with pytest.raises(TargetError, match=r"holds bundle \w{16}, expected 0{16}$"):
        check(bundle, "0" * 64)


@pytest.mark.parametrize("name", ["model.skops", "model.sig", "requirements.lock"])
def test_one_byte_is_enough_to_be_refused(bundle: Path, pair: object, name: str) -> None:
    sign(bundle)
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)

    with pytest.raises(TargetError, match=rf"^the bundle is refused: \S+/{name} \S") as caught:
        check(bundle)
    assert "\n" not in str(caught.value)


def test_the_librarys_own_command_accepts_it(bundle: Path, pair: tuple[Path, Path]) -> None:
    """Anyone can check a bundle without this project."""
    from click.testing import CliRunner
    from model_signing._cli import main

    sign(bundle)
    command = ["verify", "key", str(bundle), "--signature", str(bundle / "model.sig")]
    done = CliRunner().invoke(main, [*command, "--public_key", str(pair[1])])
    assert (done.exit_code, "Verification succeeded" in done.output) == (0, True), done.output
    (bundle / "golden.json").write_text("{}")
    assert CliRunner().invoke(main, [*command, "--public_key", str(pair[1])]).exit_code == 1


def test_a_signature_of_another_key_or_none_is_refused(
    bundle: Path, pair: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TargetError, match=r"is not signed: it has no model\.sig"):
        check(bundle)
    sign(bundle)
    other = keys(tmp_path / "other", ec.generate_private_key(ec.SECP256R1()))[1]
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(other))
    with pytest.raises(TargetError, match=r"model\.sig is of another key: \w{16}, expected \w{16}"):
        check(bundle)
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(TargetError, match=r"none\.pem, which cannot be read: No such file"):
        check(bundle)


def test_an_encrypted_key_needs_its_password(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing, verifying = keys(tmp_path / "keys", encryption=BestAvailableEncryption(b"secret"))
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(signing))
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(verifying))

    with pytest.raises(ReleaseError, match="is encrypted: set MLOPS_SIGNING_KEY_PASSWORD"):
        sign(bundle)
    monkeypatch.setenv("MLOPS_SIGNING_KEY_PASSWORD", "wrong")
    with pytest.raises(ReleaseError, match="MLOPS_SIGNING_KEY_PASSWORD is not its password"):
        sign(bundle)
    monkeypatch.setenv("MLOPS_SIGNING_KEY_PASSWORD", "secret")
    assert sign(bundle)
    assert check(bundle).startswith("signed by key ")


def test_a_signing_key_that_is_none_is_told_in_one_line(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> str:
        with pytest.raises(ReleaseError) as caught:
            sign(bundle)
        assert not (bundle / "model.sig").exists()
        return str(caught.value)

    key = tmp_path / "key.pem"
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(key))
    named = f"MLOPS_SIGNING_KEY names {key}, which "
    assert refused() == f"{named}cannot be read: No such file or directory; nothing moved"
    key.write_text("no key")
    assert refused().startswith(f"{named}is no PEM of a private key")
    keys(tmp_path, rsa.generate_private_key(65537, 2048))[0].rename(key)
    assert refused().startswith(f"{named}is a key of another kind, expected one on P-256")
    keys(tmp_path)[0].rename(key)
    monkeypatch.setenv("MLOPS_SIGNING_KEY_PASSWORD", "unwanted")
    assert refused().startswith(f"{named}is not encrypted: unset MLOPS_SIGNING_KEY_PASSWORD")


def test_a_bundle_from_before_the_key_is_signed_where_it_lies(
    world: World, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key, digest = Store(str(tmp_path / "own")), f"bundles/{MODEL}/x", digest_of(world)
    store.put_folder(key, bundle)
    assert not sign_stored(store, key, digest)

    signing, verifying = keys(tmp_path / "keys")
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(signing))
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(verifying))
    assert sign_stored(store, key, digest)
    assert check(store.local_folder(key), digest).startswith("signed by key ")
    first = store.read_bytes(f"{key}/model.sig")
    assert sign_stored(store, key, digest)
    assert store.read_bytes(f"{key}/model.sig") == first

    # Another key takes over; what was altered meanwhile is not signed.
    keys(tmp_path / "keys")
    assert sign_stored(store, key, digest)
    assert check(store.local_folder(key), digest).startswith("signed by key ")
    keys(tmp_path / "keys")
    with pytest.raises(ReleaseError, match=r"is not signed: bundle \w{16} lies in its place"):
        sign_stored(store, key, "0" * 64)
    (store.local_folder(key) / "golden.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"is not signed: \S+golden\.json was altered"):
        sign_stored(store, key, digest)


def test_workers_inherit_the_key_wherever_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_VERIFY_KEY", "keys/verify.pem")
    assert verify_environment() == {"MLOPS_VERIFY_KEY": str(tmp_path / "keys" / "verify.pem")}
    text = keys(tmp_path / "keys")[1].read_text()
    monkeypatch.setenv("MLOPS_VERIFY_KEY", text)
    assert verify_environment() == {"MLOPS_VERIFY_KEY": text}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_documented_commands_make_a_pair(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops_pipelines.release import signing

    said = (signing.__doc__ or "").splitlines()
    for line in (line.strip() for line in said if line.startswith("    openssl ")):
        subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(tmp_path / "signing.pem"))
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(tmp_path / "verify.pem"))

    assert sign(bundle)
    assert check(bundle).startswith("signed by key ")
