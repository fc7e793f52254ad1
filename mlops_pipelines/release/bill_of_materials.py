"""What a version is made of, as CycloneDX 1.6: its model card, its data, its files and packages.

cyclonedx-python-lib writes and validates the document; its classes know neither model cards nor
data sets, which are put into the JSON before the whole of it is validated. It is attached to the
MLflow version and not put into the bundle: it names the bundle's digest, and what the evaluation
of the bundle found. Specification: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.release.bom_parts import data_set, model_card
from mlops_pipelines.release.lock import canonical, pin, requirements
from mlops_pipelines.release.signing import sign_file
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.facts import RECORD
from mlops_pipelines.train.late_grammar import build_late

if TYPE_CHECKING:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component

    from mlops_pipelines.release.evaluation import Evaluation
    from mlops_pipelines.train.registry import Registry, Version
    from mlops_pipelines.train.snapshot import Snapshot

BOM_FILE = "bom.cdx.json"
"""Artifact of a version; its signature, where there is a key, is `bom.cdx.json.sig` beside it."""
RECORD_PROPERTY = "mlops:record_digest"
BUNDLE_PROPERTY = "mlops:bundle_digest"

SHA256_DIGITS = 64
_NAMESPACE = uuid.UUID("6f0a3f0e-3a55-5d3e-9a43-0d2b5c1f7f10")


def attach_bill_of_materials(
    registry: Registry,
    spec: ModelSpec,
    version: int,
    snapshot: Snapshot,
    bundle: Path,
    evaluation: Evaluation,
) -> str:
    """Write the bill of materials to the MLflow version, signed where there is a signing key.

    Returns its SHA-256, which the tag record.BOM then names; the same version gives the same.
    Raises ReleaseError, NotFoundError, TrackingError.
    """
    from mlops_pipelines.train.kept import keep

    found = registry.version(spec.name, version)
    content = bill_of_materials(spec, found, snapshot, bundle, evaluation)
    files = {BOM_FILE: content}
    with tempfile.TemporaryDirectory(prefix="mlops-bom-") as folder:
        path = Path(folder) / BOM_FILE
        path.write_bytes(content)
        signature = sign_file(path)
        if signature is not None:
            files[signature.name] = signature.read_bytes()
    keep(registry, spec.name, version, files)
    digest = hashlib.sha256(content).hexdigest()
    registry.tag(spec.name, version, {record.BOM: digest})
    return digest


def bill_of_materials(
    spec: ModelSpec, version: Version, snapshot: Snapshot, bundle: Path, evaluation: Evaluation
) -> bytes:
    """The bill of materials of a version's bundle as CycloneDX 1.6 JSON; same input, same bytes.

    Raises ReleaseError where the document is not what the specification's schema says.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    manifest = json.loads((bundle / "manifest.json").read_bytes())
    model = _model(spec, version, manifest)
    data = _data(spec, snapshot)
    packages = [*_packages((bundle / "requirements.lock").read_text("utf-8"))]
    document = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, f"{manifest['digest']} {version.tags.get(RECORD)}"),
        metadata=BomMetaData(
            timestamp=version.created,
            component=model,
            tools=ToolRepository(components=[_this()]),
        ),
        components=[data, *packages],
    )
    document.register_dependency(model, [data, *packages])
    written = make_outputter(document, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    value: dict[str, Any] = json.loads(written)
    value["metadata"]["component"]["modelCard"] = model_card(spec, version, snapshot, evaluation)
    for component in value["components"]:
        if component["bom-ref"] == "data":
            component["data"] = [data_set(spec, snapshot)]
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    mistake = invalid(text)
    if mistake:
        raise ReleaseError(
            f"{spec.name} version {version.version}: its bill of materials is no CycloneDX 1.6: "
            f"{mistake}"
        )
    return text.encode()


def invalid(text: str) -> str:
    """What the library's strict validator finds wrong with a CycloneDX 1.6 document, if anything.

    One line: where, and which rule; empty where the document is valid.
    """
    build_late()
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if found is None:
        return ""
    error = found.data
    return f"{error.json_path}: {error.validator} {str(error.validator_value)[:120]}"


def _model(spec: ModelSpec, version: Version, manifest: Mapping[str, Any]) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    said = {
        BUNDLE_PROPERTY: manifest["digest"],
        RECORD_PROPERTY: version.tags.get(RECORD, ""),
        "mlops:mlflow_run": version.run_id,
        **{
            name.replace(".", ":", 1): version.tags.get(name, "")
            for name in (
                "mlops.snapshot",
                "mlops.git_commit",
                "mlops.git_dirty",
                "mlops.lock_hash",
                "mlops.python",
                "mlops.dagster_run_id",
                "mlops.parent_version",
            )
        },
    }
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=spec.name,
        version=str(version.version),
        bom_ref="model",
        description=spec.description or None,
        properties=_properties(said),
        components=[
            Component(
                type=ComponentType.FILE,
                name=name,
                bom_ref=f"file:{name}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
            )
            for name, sha256 in sorted(manifest["files"].items())
        ],
    )


def _data(spec: ModelSpec, snapshot: Snapshot) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.DATA,
        name=f"{spec.name} training data",
        version=snapshot.digest,
        bom_ref="data",
        properties=_properties({"mlops:snapshot": snapshot.digest}),
    )


def _packages(lock: str) -> Iterator[Component]:
    """Each requirement of the lock; one that is pinned twice, by markers, is there twice."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    for name, lines in requirements(lock):
        release, marker, hashes = pin(lines)
        purl = PackageURL("pypi", None, canonical(name), release)
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=release,
            # Two markers may pin one release.
            bom_ref=f"{purl} {marker}" if marker else str(purl),
            purl=purl,
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=sha256)
                for sha256 in sorted(hashes)
                # What is no whole hash the specification does not take.
                if len(sha256) == SHA256_DIGITS
            ],
            properties=_properties({"mlops:marker": marker}) if marker else (),
        )


def _this() -> Component:
    from importlib.metadata import version

    from cyclonedx.model.component import Component, ComponentType

    name = "mlops_pipelines"
    return Component(
        type=ComponentType.APPLICATION, name=name, version=version(name), bom_ref="tool"
    )


def _properties(said: Mapping[str, str]) -> list[Property]:
    from cyclonedx.model import Property

    return [Property(name=name, value=value) for name, value in said.items() if value]
