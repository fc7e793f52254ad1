from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.release.security.packages import is_affected, packages

LOCK = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:00
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:02
scikit_learn==1.9.1 \\
    --hash=sha256:04
"""


def advisory(name: str, package: str, *events: dict[str, str], **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}]
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}
    return {"id": name, "affected": [affected], **more}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


def looked(lock: Path, said: Any, python: str = "3.11.9") -> list[tuple[str, str, str, str]]:
    file = lock.parent / "advisories.json"
    file.write_text(json.dumps(said))
    seen = packages(lock, python, file)
    assert [(m.name, m.value) for m in seen.measures] == [("packages_checked", 2)]
    return [(f.severity, f.kind, f.evidence, f.remedy) for f in seen.findings]


OLD, FIXED = {"introduced": "2.0"}, {"fixed": "2.5.0"}


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        ({"database_specific": {"severity": "MODERATE"}}, "medium"),
        ({"database_specific": {"severity": "CRITICAL"}}, "critical"),
        ({"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N"}]}, "high"),
    ],
)
def test_a_vulnerable_package_is_found(lock: Path, said: dict[str, Any], severity: str) -> None:
    told = advisory("GHSA-1", "NumPy", OLD, FIXED, aliases=["CVE-1"], **said)
    again = advisory("PYSEC-1", "numpy", OLD, FIXED, aliases=["CVE-1"])
    assert looked(lock, [told, again]) == [
        (
            severity,
            "vulnerable package",
            "numpy 2.4.6: CVE-1, GHSA-1",
            "lock a version that is not affected (2.5.0 or newer)",
        )
    ]


@pytest.mark.parametrize(
    "told",
    [
        advisory("A", "numpy", {"introduced": "0"}, {"fixed": "2.4.6"}),
        advisory("A", "numpy", {"introduced": "0"}, {"last_affected": "2.4.5"}),
        advisory("A", "numpy", OLD, FIXED, withdrawn="2026-01-01T00:00:00Z"),
        advisory("A", "pandas", {"introduced": "0"}),
        {"id": "A", "affected": [{"package": {"ecosystem": "npm", "name": "numpy"}}]},
        advisory("A", "numpy", {"introduced": "2.5"}, {"fixed": "2.6"}),
        {"vulns": []},
    ],
)
def test_a_package_that_is_not_affected_is_left_alone(lock: Path, told: dict[str, Any]) -> None:
    assert looked(lock, told) == []


def test_the_version_that_this_python_installs_is_looked_up(lock: Path) -> None:
    told = advisory("A", "numpy", {"introduced": "2.5"}, {"fixed": "2.6"})
    assert looked(lock, told, "3.11.9") == []
    assert [evidence for _, _, evidence, _ in looked(lock, told, "3.13.1")] == ["numpy 2.5.5: A"]


def test_advisories_are_read_from_folders_and_archives(lock: Path, tmp_path: Path) -> None:
    folder = tmp_path / "advisories"
    (folder / "deep").mkdir(parents=True)
    told = json.dumps(advisory("A", "scikit-learn", {"introduced": "0"}))
    (folder / "deep" / "a.json").write_text(told)
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("A.json", told)
    for place in (folder, archive):
        (finding,) = packages(lock, "", place).findings
        assert finding.evidence == "scikit-learn 1.9.1: A"
        assert finding.remedy.startswith("no version mends it yet")


@pytest.mark.parametrize("content", ["{", "[1]", '{"other": 1}', '{"id": "A", "affected": [3]}'])
def test_a_file_that_is_no_advisory_is_told(lock: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "advisories.json").write_text(content)
    (finding,) = packages(lock, "", tmp_path / "advisories.json").findings
    assert (finding.severity, finding.kind) == ("medium", "advisory not understood")
    assert finding.evidence == "advisories.json below MLOPS_ADVISORIES"


def test_advisories_that_are_not_there_stop_the_assessment(lock: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="MLOPS_ADVISORIES=.*there is no such file or folder"):
        packages(lock, "", tmp_path / "none")


versions = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(
    lambda parts: f"{parts[0]}.{parts[1]}"
)


@given(st.lists(versions, min_size=2, max_size=6, unique=True), versions, st.randoms())
def test_ranges_are_evaluated_as_the_schema_says(
    bounds: list[str], version: str, random: Any
) -> None:
    """Against the plain reading: introduced ≤ version < fixed, for each pair of bounds."""
    ordered = sorted(bounds, key=Version)
    pairs = list(zip(ordered[::2], ordered[1::2], strict=False))
    events = [{"introduced": low} for low, _ in pairs] + [{"fixed": high} for _, high in pairs]
    random.shuffle(events)
    expected = any(Version(low) <= Version(version) < Version(high) for low, high in pairs)
    affected = {"ranges": [{"type": "ECOSYSTEM", "events": events}]}
    assert is_affected(Version(version), affected) == expected


def test_listed_versions_are_compared_as_versions() -> None:
    affected = {"versions": ["no version", "1.0"]}
    assert is_affected(Version("1.0.0"), affected)
    assert not is_affected(Version("1.0.1"), affected)
