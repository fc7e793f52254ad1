"""Who may ask: bearer tokens, several at a time, so that they can be rotated.

RFC 6750, 2.1: `Authorization: Bearer <token>`.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

VARIABLE = "MLOPS_SERVE_TOKENS"
FILE_VARIABLE = "MLOPS_SERVE_TOKENS_FILE"
SHORTEST = 16
CHALLENGE = (b"www-authenticate", b"Bearer")

ALLOWED = re.compile(r"[A-Za-z0-9._~+/-]+=*")
BEARER = b"bearer "

logger = logging.getLogger("mlops_pipelines.serve")


class Tokens:
    """The tokens that are allowed now; of each only its SHA-256 is kept.

    Tokens of a file are read again when it changes, so that a rotation needs no restart. While it
    cannot be read or used, those that were read last stay in force.
    """

    def __init__(self, digests: tuple[bytes, ...] = (), file: Path | None = None) -> None:
        self._digests = digests
        self._file = file
        self._stamp = None if file is None else _stamp(file)
        self._complained = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Tokens:
        """The tokens that MLOPS_SERVE_TOKENS holds, or those of MLOPS_SERVE_TOKENS_FILE.

        The first is separated by commas or blanks, the file holds one in a line, and comments after
        a `#`. Without either, everybody may ask. Raises ValueError, naming no token: one is too
        short, a file is unreadable or empty, or both are set.
        """
        given, name = environ.get(VARIABLE, ""), environ.get(FILE_VARIABLE, "")
        if not name:
            return cls(_digests(re.split(r"[,\s]+", given), VARIABLE))
        if given.strip():
            raise ValueError(f"{VARIABLE} and {FILE_VARIABLE} are both set; set one of them")
        file = Path(name).absolute()
        # Taken first: a change while it is read is then seen as one.
        tokens = cls((), file)
        tokens._digests = _read(file)
        return tokens

    def __repr__(self) -> str:
        return f"Tokens({len(self._digests)})"

    @property
    def needed(self) -> bool:
        """Whether a request must bring a token."""
        return bool(self._digests)

    def check(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Why a request with these headers may not be answered; None if it may.

        The time does not depend on which token was sent, nor on how much of it is right.
        """
        if self._file is not None:
            self._read_again(self._file)
        if not self._digests:
            return None
        sent = headers.get(b"authorization", b"")
        if sent[: len(BEARER)].lower() != BEARER:
            return "a bearer token is needed; send the header Authorization: Bearer <token>"
        found = hashlib.sha256(sent[len(BEARER) :].strip()).digest()
        allowed = False
        for digest in self._digests:
            allowed |= hmac.compare_digest(found, digest)
        return None if allowed else "the bearer token is not one that is allowed here"

    def _read_again(self, file: Path) -> None:
        """Take what the file says now, if it changed."""
        stamp = _stamp(file)
        if stamp == self._stamp and stamp is not None:
            return
        try:
            self._digests = _read(file)
        except ValueError as exc:
            if not self._complained or stamp != self._stamp:
                fields = {"reason": str(exc), "in_force": len(self._digests)}
                logger.error("tokens_kept", extra={"fields": fields})
            self._complained = True
        else:
            logger.info("tokens_read", extra={"fields": {"in_force": len(self._digests)}})
            self._complained = False
        self._stamp = stamp


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What changes when a file is written, replaced or made readable; None while there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _read(file: Path) -> tuple[bytes, ...]:
    """The tokens of a file; an empty one opens no door. Raises ValueError."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as exc:
        raise ValueError(f"{FILE_VARIABLE}: {file} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"{FILE_VARIABLE}: {file} is not text in UTF-8") from exc
    digests = _digests(
        [line.partition("#")[0].strip() for line in lines], f"{FILE_VARIABLE}: {file}"
    )
    if not digests:
        raise ValueError(f"{FILE_VARIABLE}: {file} holds no token; expected one in a line")
    return digests


def _digests(tokens: Iterable[str], where: str) -> tuple[bytes, ...]:
    """The hash of each token that is not empty. Raises ValueError for one that cannot serve."""
    digests = []
    for number, token in enumerate(filter(None, tokens), 1):
        if len(token) < SHORTEST:
            raise ValueError(
                f"{where}: token {number} has {len(token)} characters, expected {SHORTEST} or more"
            )
        if not ALLOWED.fullmatch(token):
            raise ValueError(
                f"{where}: token {number} holds what a header cannot carry, expected letters, "
                "digits and -._~+/ alone, and = at its end"
            )
        digests.append(hashlib.sha256(token.encode()).digest())
    return tuple(dict.fromkeys(digests))
