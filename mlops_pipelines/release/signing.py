"""Signs bundles and bills of materials (OpenSSF model-signing), and checks them before use.

A pair of keys is made by

    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out signing.pem
    openssl pkey -in signing.pem -pubout -out verify.pem

Whoever releases has MLOPS_SIGNING_KEY=signing.pem (and MLOPS_SIGNING_KEY_PASSWORD where the file is
encrypted); whoever builds images, deploys or serves has MLOPS_VERIFY_KEY=verify.pem. Without a key
nothing is signed, and hashes alone are checked.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import ReleaseError, TargetError
from mlops_pipelines.serve.bundle import BundleError, read_bundle
from mlops_pipelines.serve.verify import (
    SIGNATURE,
    VERIFY_KEY,
    fingerprint,
    public_key_of,
)
from mlops_pipelines.serve.verify import check as check_bundle
from mlops_pipelines.store import Store, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from model_signing.hashing import Config as Hashing

SIGNING_KEY = "MLOPS_SIGNING_KEY"
"""Environment variable: the private key's PEM file."""
PASSWORD = "MLOPS_SIGNING_KEY_PASSWORD"  # noqa: S105 (a variable's name)


def sign(folder: Path) -> bool:
    """Write the signature of a bundle's folder into it; False where there is no signing key.

    Raises ReleaseError where the key cannot be used.
    """
    return _sign(folder, folder / SIGNATURE)


def sign_file(path: Path) -> Path | None:
    """Write the signature of a file beside it, as `<name>.sig`; None where there is no signing key.

    Raises ReleaseError where the key cannot be used.
    """
    signature = path.with_name(f"{path.name}.sig")
    return signature if _sign(path, signature) else None


def sign_stored(store: Store, key: str, digest: str) -> bool:
    """Sign the bundle `digest` that lies at `key` in the store; False without a signing key.

    For one that was built before there was a key, or under another one: what lies there is signed
    only where it is still what was built. Raises ReleaseError.
    """
    private = _private_key()
    if private is None:
        return False
    folder = store.local_folder(key)
    if _maker(folder / SIGNATURE) == fingerprint(private.public_key()):
        return True
    with tempfile.TemporaryDirectory(prefix="mlops-sign-") as scratch:
        copy = Path(scratch) / folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__", SIGNATURE))
        try:
            found = read_bundle(copy, verify=True).digest
        except BundleError as error:
            raise ReleaseError(f"the bundle {digest[:16]} is not signed: {error}") from error
        if found != digest:
            raise ReleaseError(
                f"the bundle {digest[:16]} is not signed: bundle {found[:16]} lies in its place"
            )
        sign(copy)
        signature = (copy / SIGNATURE).read_bytes()
    store.write_bytes(f"{key}/{SIGNATURE}", signature)
    # What was fetched from an object store is kept on this machine.
    write_atomically(folder / SIGNATURE, signature)
    return True


def check(folder: Path, digest: str = "") -> str:
    """Refuse a bundle that is not what was built, or, with a key, not what was signed.

    `digest`, where it is known, must be the bundle's: a whole other bundle is refused. Python's
    caches are removed first, for Python would run a planted one. Returns what was checked, in a
    sentence. Raises TargetError, and then what serves keeps serving.
    """
    for cache in [*folder.rglob("__pycache__")]:
        shutil.rmtree(cache, ignore_errors=True)
    try:
        said = check_bundle(folder)
        found = read_bundle(folder).digest
    except BundleError as error:
        raise TargetError(f"the bundle is refused: {error}") from error
    if digest and found != digest:
        raise TargetError(
            f"the bundle is refused: {folder} holds bundle {found[:16]}, expected {digest[:16]}"
        )
    if os.environ.get(VERIFY_KEY):
        _check_by_library(folder)
    return said


def verify_environment() -> dict[str, str]:
    """What a worker must inherit to check signatures, wherever its working directory is."""
    key = os.environ.get(VERIFY_KEY, "")
    if not key or key.startswith("-----"):
        return {VERIFY_KEY: key} if key else {}
    return {VERIFY_KEY: str(Path(key).absolute())}


def _sign(path: Path, signature: Path) -> bool:
    private = _private_key()
    if private is None:
        return False
    from model_signing import signing

    with tempfile.TemporaryDirectory(prefix="mlops-signature-") as scratch:
        written = Path(scratch) / SIGNATURE
        config = signing.Config().set_hashing_config(_hashing())  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(
            private_key=os.environ[SIGNING_KEY],
            password=_password(),  # type: ignore[arg-type]  # says str, and takes bytes
        )
        config.sign(path, written)
        write_atomically(signature, written.read_bytes())
    return True


def _hashing() -> Hashing:
    from model_signing import hashing

    config = hashing.Config().use_file_serialization()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _check_by_library(folder: Path) -> None:
    """The reference implementation must agree with the server's own check."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from model_signing import verifying

    pem = public_key_of(os.environ[VERIFY_KEY]).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.NamedTemporaryFile(suffix=".pem") as key:
        key.write(pem)
        key.flush()
        config = verifying.Config().set_hashing_config(_hashing())  # type: ignore[no-untyped-call]
        config.use_elliptic_key_verifier(public_key=key.name)
        try:
            config.verify(folder, folder / SIGNATURE)
        except ValueError as error:
            raise TargetError(f"the bundle is refused: {folder}/{SIGNATURE}: {error}") from error


def _private_key() -> EllipticCurvePrivateKey | None:
    """The key that MLOPS_SIGNING_KEY names; None where it is not set. Raises ReleaseError."""
    named = os.environ.get(SIGNING_KEY, "")
    if not named:
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    where = f"{SIGNING_KEY} names {named}, which"
    try:
        loaded = load_pem_private_key(Path(named).read_bytes(), _password())
    except OSError as error:
        raise ReleaseError(f"{where} cannot be read: {error.strerror}; nothing moved") from error
    except TypeError as error:
        found = "is encrypted: set" if _password() is None else "is not encrypted: unset"
        raise ReleaseError(f"{where} {found} {PASSWORD}; nothing moved") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ReleaseError(
            f"{where} is no PEM of a private key, or {PASSWORD} is not its password; nothing moved"
        ) from error
    curves = ("secp256r1", "secp384r1", "secp521r1")
    if not isinstance(loaded, EllipticCurvePrivateKey) or loaded.curve.name not in curves:
        raise ReleaseError(
            f"{where} is a key of another kind, expected one on P-256, P-384 or P-521; nothing "
            "moved"
        )
    return loaded


def _password() -> bytes | None:
    password = os.environ.get(PASSWORD, "")
    return password.encode() if password else None


def _maker(signature: Path) -> str:
    """The fingerprint of the key that a signature says it was made with; empty without one."""
    try:
        said: dict[str, Any] = json.loads(signature.read_bytes())
        return str(said["verificationMaterial"]["publicKey"]["hint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
