"""What could do harm in a bundle: code that its model file would run, altered files, secrets."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.release.lock import requirements

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")

PICKLED_NAMES = frozenset(
    (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".pyc")
)
OWN_TYPES = ("sklearn.", "numpy.", "scipy.", "builtins.")
"""Where trusted types may come from, besides the model's own files in the bundle."""

SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("private key", re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")),
    ("cloud access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("access token", re.compile(r"\b(?:gh[pousr]_\w{36}|xox[abprs]-[\w-]{10,}|glpat-[\w-]{20})")),
    ("URL with a password", re.compile(r"\b\w+://[^\s/:@'\"{}]+:[^\s/:@'\"{}]+@")),
    (
        "password or token",
        re.compile(
            r"""(?ix) \w*(?:password|passwd|secret|api_?key|access_?key|auth_?token)\w* ["']?
            \s*[=:]\s* ["'] (?![{$<]) [^"'\s]{8,} ["']"""
        ),
    ),
)
TEXTS = frozenset(
    (".py", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".txt", ".env", ".lock")
)
OWN_CODE = "code/mlops_pipelines/"


@dataclass(frozen=True)
class Finding:
    """One thing found; `evidence` names a file, line or type, never a secret's value."""

    severity: Severity
    kind: str
    evidence: str
    remedy: str


@dataclass(frozen=True)
class SecurityReport:
    """All findings of one bundle, the gravest first."""

    findings: tuple[Finding, ...]

    @property
    def secure(self) -> bool:
        """Whether nothing of high or critical severity was found."""
        return not any(finding.severity in ("high", "critical") for finding in self.findings)

    @property
    def sentence(self) -> str:
        """How many findings of which severity; the gravest by name."""
        if not self.findings:
            return "nothing found: model file, hashes, lock and secrets were looked at"
        counts = Counter(finding.severity for finding in self.findings)
        counted = ", ".join(f"{counts[s]} {s}" for s in SEVERITIES if counts[s])
        first = self.findings[0]
        return f"{counted}; first: {first.kind}, {first.evidence}"

    def markdown(self) -> str:
        """A table of the findings, or one sentence."""
        if not self.findings:
            return self.sentence
        rows = [
            f"| {f.severity} | {f.kind} | {_cell(f.evidence)} | {_cell(f.remedy)} |"
            for f in self.findings
        ]
        return "\n".join(["| severity | what | where | what to do |", "|---|---|---|---|", *rows])


def assess(bundle: Path, params: Mapping[str, str] | None = None) -> SecurityReport:
    """Look at the bundle in this folder, and at the parameters its version was trained with.

    Nothing of the bundle is executed. Raises ReleaseError where it is no bundle.
    """
    try:
        said = json.loads((bundle / "bundle.json").read_bytes())
        manifest = json.loads((bundle / "manifest.json").read_bytes())
        trusted, files = said["trusted_types"], manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        raise ReleaseError(
            f"{bundle} is no bundle: bundle.json or manifest.json is missing or broken ({error}); "
            "build it again"
        ) from error
    findings = [
        *_altered(bundle, files),
        *_pickles(bundle),
        *_types(bundle, trusted),
        *_lock(bundle / "requirements.lock"),
        *_secrets(bundle),
        *_secret_params(params or {}),
    ]
    return SecurityReport(tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity))))


def _altered(bundle: Path, files: Mapping[str, str]) -> Iterator[Finding]:
    remedy = "build the bundle again from its MLflow version, and find out who wrote to the store"
    present = {name for name, _ in _files(bundle)} - {"manifest.json"}
    for name in sorted(present - set(files)):
        yield Finding("critical", "foreign file", f"{name} is not in manifest.json", remedy)
    for name, expected in sorted(files.items()):
        path = bundle / name
        if not path.is_file():
            yield Finding("critical", "altered file", f"{name} is missing", remedy)
        elif hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            yield Finding("critical", "altered file", f"{name} is not what was bundled", remedy)


def _pickles(bundle: Path) -> Iterator[Finding]:
    remedy = "loading a pickle runs whatever it says: save the model with skops instead"
    for name, path in _files(bundle):
        with path.open("rb") as stream:
            head = stream.read(16)
        if path.suffix.lower() in PICKLED_NAMES or _is_pickle(head):
            yield Finding("critical", "pickle", name, remedy)
        elif zipfile.is_zipfile(path):
            for member in _pickled_members(path):
                yield Finding("critical", "pickle", f"{member} in {name}", remedy)


def _pickled_members(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                head = stream.read(256)
            objects = head.startswith(b"\x93NUMPY") and re.search(rb"'descr':\s*'\|O'", head)
            if Path(member).suffix.lower() in PICKLED_NAMES or _is_pickle(head) or objects:
                yield member


def _is_pickle(head: bytes) -> bool:
    # Protocols 2 to 5 begin with PROTO; from 4 on a FRAME follows it.
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2:3] in b"\x95c}](X\x8c"


def _types(bundle: Path, trusted: list[str]) -> Iterator[Finding]:
    from skops.io import get_untrusted_types

    model_file = bundle / "model.skops"
    if not model_file.is_file():
        return
    try:
        found = set(get_untrusted_types(file=model_file))
    except Exception as error:  # noqa: BLE001 (skops raises what a broken file makes it raise)
        yield Finding(
            "critical",
            "unreadable model file",
            f"{model_file.name}: {type(error).__name__}",
            "train the version again; it must be a file that skops wrote",
        )
        return
    for name in sorted(found - set(trusted)):
        yield Finding(
            "high",
            "untrusted type",
            f"{name} in {model_file.name}",
            "train the version again, so that the type is looked at and recorded",
        )
    for name in sorted(trusted):
        if not name.startswith(OWN_TYPES) and not _lies_in(bundle, name):
            yield Finding(
                "high",
                "foreign type",
                f"{name} is trusted, and is neither scikit-learn's nor this model's",
                "use a scikit-learn type, or one from a file beside the declaration",
            )


def _lies_in(bundle: Path, name: str) -> bool:
    """Whether the module of `assets.<folder>.<module>.<type>` is in the bundle."""
    top, *path = name.split(".")
    return (
        top == "assets"
        and (bundle / "code" / "assets").joinpath(*path[:-1]).with_suffix(".py").is_file()
    )


def _lock(lock: Path) -> Iterator[Finding]:
    remedy = "lock the project: uv pip compile --generate-hashes --no-emit-index-url"
    text = lock.read_text("utf-8") if lock.is_file() else ""
    pinned = list(requirements(text))
    if not pinned:
        yield Finding("low", "no lock", f"{lock.name} pins nothing", remedy)
    loose = [name for name, lines in pinned if "==" not in lines.splitlines()[0]]
    unhashed = [name for name, lines in pinned if "--hash=" not in lines and name not in loose]
    for kind, names in (("unpinned package", loose), ("package without hash", unhashed)):
        if names:
            yield Finding("low", kind, _few(names), remedy)


def _secrets(bundle: Path) -> Iterator[Finding]:
    for name, path in _files(bundle):
        if path.suffix.lower() not in TEXTS or name.startswith(OWN_CODE) or name == "manifest.json":
            continue
        lines = path.read_text("utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            for kind in _secrets_in(line):
                yield _secret(kind, f"{name}:{number}")


def _secret_params(params: Mapping[str, str]) -> Iterator[Finding]:
    for name, value in params.items():
        for kind in _secrets_in(f'{name} = "{value}"'):
            yield _secret(kind, f"parameter {name}")


def _secrets_in(text: str) -> Iterator[str]:
    kind = next((kind for kind, pattern in SECRETS if pattern.search(text)), None)
    if kind:
        yield kind


def _secret(kind: str, where: str) -> Finding:
    remedy = "revoke it, and name it by {env: NAME} instead of writing it down"
    return Finding("high", "secret", f"{kind} at {where}", remedy)


def _files(bundle: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(bundle.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(bundle).as_posix(), path


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
