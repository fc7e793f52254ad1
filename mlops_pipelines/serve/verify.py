"""Whether a bundle is the one that was signed: OpenSSF Model Signing v1.0, by a public key.

`model.sig` lies in the bundle, and its manifest does not list it: a Sigstore bundle, whose DSSE
envelope holds an in-toto statement with the SHA-256 of every other file, signed by ECDSA. Format:
https://github.com/ossf/model-signing-spec. Checking it by the library that writes it
(model-signing) costs 0.4 s and 49 MB, which a server does not have; by `cryptography` alone 30 ms
and 10 MB, and nothing where no key is given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mlops_pipelines.serve.bundle import BundleError, read_bundle, read_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNATURE = "model.sig"
"""The one file of a bundle that its manifest does not list."""
VERIFY_KEY = "MLOPS_VERIFY_KEY"
"""Environment variable: the public key's PEM file, or the PEM text itself."""
HASHES_ONLY = f"hashes only: {VERIFY_KEY} names no public key"

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"


def check(path: Path) -> str:
    """Hash every file of the bundle in `path`; with a key, they must be the ones that were signed.

    Returns what was checked, for the log. Raises BundleError, naming the file that is missing,
    altered or foreign, or what is wrong with the signature or the key.
    """
    key = os.environ.get(VERIFY_KEY, "")
    read_bundle(path, verify=True)
    files = read_json(path, "manifest.json")["files"]
    _refuse_foreign(path, files, caches=not key)
    if not key:
        return HASHES_ONLY
    public_key = public_key_of(key)
    try:
        signature = (path / SIGNATURE).read_bytes()
    except FileNotFoundError as exc:
        raise BundleError(
            f"{path} is not signed: it has no {SIGNATURE}, which {VERIFY_KEY} asks for; "
            "evaluate its version again with MLOPS_SIGNING_KEY set"
        ) from exc
    except OSError as exc:
        raise BundleError(f"{path}/{SIGNATURE} cannot be read: {exc.strerror}") from exc
    try:
        signed = signed_files(signature, public_key)
    except BundleError as exc:
        raise BundleError(f"{path}/{SIGNATURE} {exc}") from exc
    covered = {**files, "manifest.json": _sha256((path / "manifest.json").read_bytes())}
    for name in sorted(signed.keys() | covered.keys()):
        if signed.get(name) != covered.get(name):
            raise BundleError(f"{path}/{name} is not as signed: {_differs(name, signed, covered)}")
    return f"signed by key {fingerprint(public_key)[:16]}, which covers {len(signed)} files"


def public_key_of(key: str) -> EllipticCurvePublicKey:
    """The public key that MLOPS_VERIFY_KEY names or holds. Raises BundleError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as exc:
        raise BundleError(
            f"{VERIFY_KEY} asks for signatures, and the package cryptography, which checks them, "
            "is not installed here"
        ) from exc

    where = "holds text that" if key.startswith("-----") else f"names {key}, which"
    try:
        pem = key.encode() if key.startswith("-----") else Path(key).read_bytes()
    except OSError as exc:
        raise BundleError(f"{VERIFY_KEY} {where} cannot be read: {exc.strerror}") from exc
    wanted = "expected the PEM of a public key on P-256, P-384 or P-521"
    try:
        loaded = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as exc:
        found = "is a private key" if b"PRIVATE KEY" in pem else "is no public key"
        raise BundleError(f"{VERIFY_KEY} {where} {found}; {wanted}") from exc
    if not isinstance(loaded, EllipticCurvePublicKey) or loaded.curve.name not in _HASHES:
        raise BundleError(f"{VERIFY_KEY} {where} is a key of another kind; {wanted}")
    return loaded


def fingerprint(public_key: EllipticCurvePublicKey) -> str:
    """The SHA-256 of the key's PEM, as signatures name the key that made them."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _sha256(pem)


def signed_files(signature: bytes, public_key: EllipticCurvePublicKey) -> dict[str, str]:
    """What a signature vouches for: the SHA-256 of each file by name (`.` where it is of one file).

    Raises BundleError: it is of another key, was altered, or is not understood.
    """
    try:
        said = orjson.loads(signature)
        envelope, material = said["dsseEnvelope"], said["verificationMaterial"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        maker = material["publicKey"]["hint"]
        kinds = (said["mediaType"], envelope["payloadType"])
    except (orjson.JSONDecodeError, binascii.Error, KeyError, IndexError, TypeError) as exc:
        raise BundleError("is no Sigstore bundle made with a key") from exc
    if kinds != (_MEDIA_TYPE, _PAYLOAD_TYPE):
        raise BundleError(f"is a {kinds[0]} of {kinds[1]}, expected {_MEDIA_TYPE}")
    mine = fingerprint(public_key)
    if maker != mine:
        raise BundleError(f"is of another key: {str(maker)[:16]}, expected {mine[:16]}")
    _refuse_forged(payload, signed, public_key)
    return _resources(payload)


_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


def _refuse_forged(payload: bytes, signed: bytes, public_key: EllipticCurvePublicKey) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    # Pre-authentication encoding: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
    encoded = b"DSSEv1 %d %s %d %s" % (
        len(_PAYLOAD_TYPE),
        _PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )
    algorithm = getattr(hashes, _HASHES[public_key.curve.name])()
    try:
        public_key.verify(signed, encoded, ECDSA(algorithm))
    except InvalidSignature as exc:
        raise BundleError("was altered: its signature is not that of its statement") from exc


def _resources(payload: bytes) -> dict[str, str]:
    try:
        statement = orjson.loads(payload)
        predicate = statement["predicate"]
        kinds = (statement["_type"], statement["predicateType"])
        how = (predicate["serialization"]["method"], predicate["serialization"]["hash_type"])
        listed = {each["name"]: each["digest"] for each in predicate["resources"]}
    except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
        raise BundleError("holds a statement that is not understood") from exc
    if kinds != (_STATEMENT, _PREDICATE) or how != ("files", "sha256"):
        raise BundleError(f"states {kinds[1]} by {how}, expected {_PREDICATE} by files and sha256")
    return listed


def _refuse_foreign(path: Path, files: Mapping[str, Any], *, caches: bool) -> None:
    """Refuse what the manifest does not list, for Python may import it.

    `caches` tolerates `__pycache__`: not where a key asks for proof, since Python would run a
    planted one in place of its source.
    """
    known = {*files, "manifest.json", SIGNATURE}
    for found in sorted(path.rglob("*")):
        name = found.relative_to(path).as_posix()
        if found.is_symlink():
            raise BundleError(f"{path}/{name} is a link; a bundle holds files")
        if found.is_dir() or name in known or (caches and "__pycache__" in found.parts):
            continue
        raise BundleError(f"{path}/{name} is foreign: manifest.json does not list it")


def _differs(name: str, signed: Mapping[str, str], covered: Mapping[str, str]) -> str:
    if name not in signed:
        return "the signature does not list it"
    if name not in covered:
        return "it was signed, and is in no list of the bundle"
    return f"sha256 {covered[name][:12]}…, signed was {signed[name][:12]}…"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
