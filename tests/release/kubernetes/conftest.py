"""Bundles that are whole but for a model, and a target whose cluster is an HTTP server here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlops_pipelines.environment import KubernetesTarget as Settings
from mlops_pipelines.release.targets.kubernetes.target import KubernetesTarget
from tests.release.kubernetes.api_server import ApiServer, kubeconfig, serving

MODEL = "cancer"
NAMESPACE = "models"

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "mlops-log", "namespace": NAMESPACE},
    "spec": {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "10Gi"}},
        "volumeName": "nfs-1",
    },
    "status": {"phase": "Bound"},
}


def settings(**changes: object) -> Settings:
    said = {"type": "kubernetes", "repository": "images.internal/models", "namespace": NAMESPACE}
    return Settings.model_validate(said | changes)


def make_bundle(folder: Path, version: int, model: str = MODEL, **said: object) -> Path:
    """A bundle's folder: what it says of itself, and a manifest that lists it."""
    folder.mkdir()
    about = {
        "schema": 2,
        "model": model,
        "version": version,
        "task": "regression",
        "columns": [{"name": "x", "type": "double", "nullable": False}],
        "target": "y",
        "classes": None,
        "positive": None,
        "trusted_types": [],
        "runtime": {"name": "onnxruntime", "reason": "it answers as scikit-learn does"},
        "run_id": "0123456789abcdef0123456789abcdef",
        "snapshot": "5c3a" * 16,
        "git_commit": "83d2b85d" * 5,
        "git_dirty": "",
        "lock_hash": "11aa" * 16,
        "python": "3.11.2",
        **said,
    }
    content = json.dumps(about, sort_keys=True).encode()
    (folder / "bundle.json").write_bytes(content)
    files = {"bundle.json": hashlib.sha256(content).hexdigest()}
    listed = json.dumps(files, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(listed.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"files": files, "digest": digest}))
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The bundle of a version."""
    root, made = tmp_path_factory.mktemp("bundles"), {}

    def bundle(version: int) -> Path:
        if version not in made:
            made[version] = make_bundle(root / f"v{version}", version)
        return made[version]

    return bundle


@dataclass(frozen=True)
class Place:
    """A target, the API server behind it, and the folder of its home."""

    target: KubernetesTarget
    api: ApiServer
    home: Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    api = ApiServer(NAMESPACE)
    api.objects["PersistentVolumeClaim", "mlops-log"] = json.loads(json.dumps(CLAIM))
    with serving(api) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", address)))
        home = tmp_path / "home"
        yield Place(KubernetesTarget(home, settings(), {}, ready_seconds=0.6), api, home)
