from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_pipelines.serve.bundle import BundleError
from mlops_pipelines.serve.verify import HASHES_ONLY, check, fingerprint, signed_files
from tests.serve.conftest import Bundles, write_manifest

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def write_keys(folder: Path, private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    """`signing.pem`, and `verify.pem`, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "signing.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "verify.pem").write_bytes(public)
    return folder / "verify.pem"


def sign(bundle: Path, private_key: Path) -> None:
    """As anyone would with OpenSSF's library."""
    from model_signing import hashing, signing

    how = hashing.Config().use_file_serialization()
    how.set_ignored_paths(paths=["model.sig"], ignore_git_paths=False)
    config = signing.Config().set_hashing_config(how)
    config.use_elliptic_key_signer(private_key=private_key).sign(bundle, bundle / "model.sig")


@pytest.fixture(scope="session")
def private() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def key(private: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys", private)


@pytest.fixture
def signed(bundles: Bundles, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A signed bundle of the test's own, and its key in the environment."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundles.cancer, folder, ignore=shutil.ignore_patterns("__pycache__"))
    sign(folder, key.parent / "signing.pem")
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(key))
    return folder


def test_without_a_key_hashes_alone_are_checked(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLOPS_VERIFY_KEY")

    assert check(signed) == HASHES_ONLY == "hashes only: MLOPS_VERIFY_KEY names no public key"
    (signed / "code" / "__pycache__").mkdir()
    (signed / "code" / "__pycache__" / "own.cpython-311.pyc").touch()
    assert check(signed) == HASHES_ONLY


@pytest.mark.parametrize("curve", CURVES)
def test_a_signed_bundle_is_accepted_by_a_key_file_and_by_its_text(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curve: str
) -> None:
    private = ec.generate_private_key(CURVES[curve])
    key = write_keys(tmp_path / "keys", private)
    folder = tmp_path / "bundle"
    shutil.copytree(bundles.cancer, folder, ignore=shutil.ignore_patterns("__pycache__"))
    sign(folder, tmp_path / "keys" / "signing.pem")
    files = len(json.loads((folder / "manifest.json").read_text())["files"]) + 1

    for named in (str(key), key.read_text()):
        monkeypatch.setenv("MLOPS_VERIFY_KEY", named)
        mine = fingerprint(private.public_key())[:16]
        assert check(folder) == f"signed by key {mine}, which covers {files} files"


def alter(name: str, text: str | None = None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        if text is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        else:
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    return change


def forge(folder: Path) -> None:
    """Alter a file, and the list of files with it, as one who has no key can."""
    alter("golden.json")(folder)
    (folder / "model.sig").rename(folder.parent / "model.sig")
    write_manifest(folder)
    (folder.parent / "model.sig").rename(folder / "model.sig")


def restate(folder: Path) -> None:
    """Let the statement name another hash, under the signature that there was."""
    said = json.loads((folder / "model.sig").read_text())
    payload = base64.b64decode(said["dsseEnvelope"]["payload"])
    assert b'"golden.json"' in payload
    altered = payload.replace(b'"golden.json"', b'"Golden.json"')
    said["dsseEnvelope"]["payload"] = base64.b64encode(altered).decode()
    (folder / "model.sig").write_text(json.dumps(said))


def link(folder: Path) -> None:
    (folder / "code" / "numpy").symlink_to(folder.parent, target_is_directory=True)


TAMPERED = {
    "a byte of a file": (alter("golden.json"), r"golden\.json was altered: sha256 \w{12}…"),
    "a file and its list": (forge, r"golden\.json is not as signed: sha256 \w{12}…, signed was"),
    "a file less": (
        lambda f: (f / "golden.json").unlink(),
        r"golden\.json cannot be read: No such",
    ),
    "a file more": (alter("code/numpy.py", "x = 1"), r"code/numpy\.py is foreign: manifest\.json"),
    "compiled code": (
        alter("code/__pycache__/a.cpython-311.pyc", ""),
        r"a\.cpython-311\.pyc is foreign",
    ),
    "a hidden file": (alter(".git/config", ""), r"\.git/config is foreign"),
    "a linked folder": (link, r"code/numpy is a link; a bundle holds files"),
    "blanks in the list": (
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text() + " "),
        r"manifest\.json is not as signed",
    ),
    "no signature": (
        lambda f: (f / "model.sig").unlink(),
        r"is not signed: it has no model\.sig, which MLOPS_VERIFY_KEY asks for",
    ),
    "another statement": (restate, r"model\.sig was altered: its signature is not that of"),
    "no JSON": (alter("model.sig", "nothing"), r"model\.sig is no Sigstore bundle"),
    "an empty list": (alter("model.sig", "[]"), r"model\.sig is no Sigstore bundle"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_bundle_is_refused_in_one_line(signed: Path, how: str) -> None:
    change, line = TAMPERED[how]
    change(signed)

    with pytest.raises(BundleError, match=line) as caught:
        check(signed)
    assert "\n" not in str(caught.value)


KEYS = {
    "no file": (lambda folder: folder / "none.pem", "cannot be read: No such file"),
    "no PEM": (lambda folder: folder.parent / "bundle" / "golden.json", "is no public key;"),
    "a private key": (lambda folder: folder / "signing.pem", "is a private key;"),
    "an RSA key": (
        lambda folder: write_keys(folder, rsa.generate_private_key(65537, 2048)),
        "is a key of another kind; expected the PEM of a public key on P-256",
    ),
    "a smaller curve": (
        lambda folder: write_keys(folder, ec.generate_private_key(ec.SECP224R1())),
        "is a key of another kind",
    ),
    "a wrong key": (
        lambda folder: write_keys(folder, ec.generate_private_key(ec.SECP256R1())),
        r"model\.sig is of another key: \w{16}, expected \w{16}$",
    ),
}


@pytest.mark.parametrize("which", KEYS)
def test_a_key_that_cannot_prove_it_refuses_the_bundle(
    signed: Path, key: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    make, line = KEYS[which]
    monkeypatch.setenv("MLOPS_VERIFY_KEY", str(make(key.parent)))

    with pytest.raises(BundleError, match=line):
        check(signed)


def test_a_key_written_wrongly_into_the_environment_is_told(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_VERIFY_KEY", "-----BEGIN PUBLIC KEY-----\nabc\n")

    with pytest.raises(BundleError, match="MLOPS_VERIFY_KEY holds text that is no public key;"):
        check(signed)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_other_signature_is_taken_for_the_one(
    bundles: Bundles, private: ec.EllipticCurvePrivateKey, data: st.DataObject, tmp_path_factory
) -> None:
    """Whatever byte is changed: the same is stated, or it is refused as a BundleError."""
    signature, stated = _signature(bundles, private, tmp_path_factory)
    at = data.draw(st.integers(0, len(signature) - 1))
    byte = data.draw(st.integers(0, 255))
    try:
        found = signed_files(
            signature[:at] + bytes([byte]) + signature[at + 1 :], private.public_key()
        )
    except BundleError:
        return
    assert found == stated


@settings(max_examples=100, deadline=None)
@given(
    said=st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "dsseEnvelope",
                        "verificationMaterial",
                        "publicKey",
                        "hint",
                        "payload",
                        "mediaType",
                        "payloadType",
                        "signatures",
                        "sig",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_a_signature_says_it_is_refused_and_never_crashes(said: object) -> None:
    with pytest.raises(BundleError):
        signed_files(json.dumps(said).encode(), PUBLIC)


PUBLIC = ec.derive_private_key(7, ec.SECP256R1()).public_key()
_MADE: list[tuple[bytes, dict[str, str]]] = []


def _signature(
    bundles: Bundles, private: ec.EllipticCurvePrivateKey, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, dict[str, str]]:
    if not _MADE:
        folder = tmp_path_factory.mktemp("made") / "bundle"
        shutil.copytree(bundles.cancer, folder, ignore=shutil.ignore_patterns("__pycache__"))
        keys = tmp_path_factory.mktemp("keys")
        write_keys(keys, private)
        sign(folder, keys / "signing.pem")
        signature = (folder / "model.sig").read_bytes()
        _MADE.append((signature, signed_files(signature, private.public_key())))
    return _MADE[0]


def test_what_is_checked_needs_no_library_but_one(signed: Path) -> None:
    """The server's memory and start: neither pydantic nor sigstore are imported."""
    program = (
        "import sys; from pathlib import Path; from mlops_pipelines.serve.verify import check; "
        f"print(check(Path({str(signed)!r}))); "
        "print([m for m in ('model_signing', 'sigstore', 'pydantic', 'in_toto_attestation') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    said, imported = done.stdout.splitlines()
    assert said.startswith("signed by key ")
    assert imported == "[]"
