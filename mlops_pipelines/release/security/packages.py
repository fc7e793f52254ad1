"""The packages of a bundle's lock: pinned, hashed, and without a known vulnerability.

Advisories are read from files on this machine, in the OSV format (https://ossf.github.io/osv-schema),
as https://osv.dev gives them for the ecosystem PyPI.
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.release.lock import canonical, requirements
from mlops_pipelines.release.security.report import Finding, Measure, Seen
from mlops_pipelines.release_spec import Severity

if TYPE_CHECKING:
    from packaging.version import Version

ADVISORIES = "MLOPS_ADVISORIES"
"""Environment variable: a file (.json, or the .zip of an ecosystem) or a folder of advisories."""

_SEVERITIES: dict[str, Severity] = {
    "CRITICAL": "critical",
    "HIGH": "high",
    "MODERATE": "medium",
    "MEDIUM": "medium",
    "LOW": "low",
}


@dataclass(frozen=True)
class Pinned:
    """A package of the lock: its canonical name, and the version that this Python installs."""

    name: str
    version: Version


def packages(lock: Path, python: str, advisories: Path | None) -> Seen:
    """Findings on the packages of `lock` for Python `python` (such as 3.11.9).

    Raises ReleaseError where there is nothing at `advisories`.
    """
    text = lock.read_text("utf-8") if lock.is_file() else ""
    findings = list(_loose(text, lock.name))
    if advisories is None:
        return Seen(findings)
    pinned = list(_pinned(text, python))
    known, broken = _known(advisories, {each.name for each in pinned})
    findings += [finding for each in pinned for finding in _vulnerable(each, known[each.name])]
    if broken:
        findings.append(
            Finding(
                "medium",
                "advisory not understood",
                f"{_few(broken)} below {ADVISORIES}",
                "fetch the advisories again; what they say of the packages was not looked at",
            )
        )
    looked = Measure(
        "packages_checked", len(pinned), "packages looked up among the advisories", len(pinned)
    )
    return Seen(findings, [looked])


def is_affected(version: Version, affected: dict[str, Any]) -> bool:
    """Whether an entry of an advisory's `affected` concerns `version`.

    As the OSV schema evaluates it: listed among `versions`, or between the events of a range.
    """
    from packaging.version import InvalidVersion, Version

    for listed in affected.get("versions", ()):
        try:
            if Version(listed) == version:
                return True
        except InvalidVersion:
            continue
    ranges = [r for r in affected.get("ranges", ()) if r.get("type") == "ECOSYSTEM"]
    return any(_within(version, each["events"]) for each in ranges)


def _within(version: Version, events: list[dict[str, str]]) -> bool:
    from packaging.version import Version

    def place(event: dict[str, str]) -> tuple[bool, Version]:
        (_, said), *_ = event.items()
        return said != "0", Version(said)

    inside = False
    for event in sorted(events, key=place):
        (what, said), *_ = event.items()
        if what == "introduced" and (said == "0" or version >= Version(said)):
            inside = True
        # `limit` is exclusive as `fixed` is.
        if what in ("fixed", "limit") and version >= Version(said):
            inside = False
        if what == "last_affected" and version > Version(said):
            inside = False
    return inside


def _loose(text: str, name: str) -> Iterator[Finding]:
    remedy = "lock the project: uv pip compile --generate-hashes --no-emit-index-url"
    pinned = list(requirements(text))
    if not pinned:
        yield Finding("low", "no lock", f"{name} pins nothing", remedy)
    loose = [name for name, lines in pinned if "==" not in lines.splitlines()[0]]
    unhashed = [name for name, lines in pinned if "--hash=" not in lines and name not in loose]
    if loose:
        yield Finding("low", "unpinned package", _few(loose), remedy)
    if unhashed:
        yield Finding("low", "package without hash", _few(unhashed), remedy)


def _pinned(text: str, python: str) -> Iterator[Pinned]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion, Version

    here = {}
    if python:
        here = {
            "python_full_version": python,
            "python_version": ".".join(python.split(".")[:2]),
        }
    for _, lines in requirements(text):
        said = lines.splitlines()[0].partition(" --hash")[0].rstrip("\\").strip()
        try:
            requirement = Requirement(said)
            exact = [each.version for each in requirement.specifier if each.operator == "=="]
            version = Version(exact[0])
        except (InvalidRequirement, InvalidVersion, IndexError):
            continue
        if requirement.marker is None or requirement.marker.evaluate(here):
            yield Pinned(canonical(requirement.name), version)


def _known(advisories: Path, names: set[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """The advisories on the packages `names`, by package, and the files that hold none."""
    known: dict[str, list[Any]] = defaultdict(list)
    broken = []
    for name, content in _documents(advisories):
        try:
            for advisory in _advisories(json.loads(content)):
                for affected in advisory.get("affected", ()):
                    package = affected.get("package", {})
                    about = canonical(package.get("name", ""))
                    if package.get("ecosystem") == "PyPI" and about in names:
                        known[about].append((advisory, affected))
        except (ValueError, AttributeError, TypeError):
            broken.append(name)
    return known, broken


def _documents(advisories: Path) -> Iterator[tuple[str, bytes]]:
    files = sorted(advisories.rglob("*.json")) if advisories.is_dir() else [advisories]
    if not advisories.exists():
        raise ReleaseError(
            f"{ADVISORIES}={advisories}: there is no such file or folder; name one with "
            "advisories in OSV format, or unset it"
        )
    for file in files:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    yield name, archive.read(name)
        else:
            yield file.name, file.read_bytes()


def _advisories(document: Any) -> list[Any]:
    """Of a file: one advisory, a list of them, or what the service answers (`vulns`)."""
    if isinstance(document, list):
        return document
    listed = document.get("vulns")
    if listed is None and "id" not in document:
        raise ValueError("no advisory")
    return [document] if listed is None else listed


def _vulnerable(package: Pinned, known: list[Any]) -> Iterator[Finding]:
    told: set[str] = set()
    for advisory, affected in known:
        named = {advisory["id"], *advisory.get("aliases", ())}
        # The same flaw is often told by several databases.
        if advisory.get("withdrawn") or named & told:
            continue
        if is_affected(package.version, affected):
            told |= named
            fixed = sorted(
                {
                    event["fixed"]
                    for each in affected.get("ranges", ())
                    if each.get("type") == "ECOSYSTEM"
                    for event in each["events"]
                    if "fixed" in event
                }
            )
            yield Finding(
                _severity(advisory),
                "vulnerable package",
                f"{package.name} {package.version}: {', '.join(sorted(named))}",
                f"lock a version that is not affected ({', '.join(fixed)} or newer)"
                if fixed
                else "no version mends it yet: see the advisory, or do without the package",
            )


def _severity(advisory: dict[str, Any]) -> Severity:
    """As the database says; high where it says nothing in words."""
    said = advisory.get("database_specific", {}).get("severity", "")
    return _SEVERITIES.get(str(said).upper(), "high")


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
