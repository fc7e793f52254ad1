"""Images of versions, built and started on a real engine."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import dagster as dg
import docker
import pytest

from mlops_pipelines import record
from mlops_pipelines.environment import DockerTarget
from mlops_pipelines.errors import TargetError
from mlops_pipelines.explain.image_labels import verify_image
from mlops_pipelines.keys import versions_of
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.image import image_asset
from mlops_pipelines.release.images.archive import Archive, build_context
from mlops_pipelines.release.images.base import base_image, base_python
from mlops_pipelines.release.images.engine import build, connect
from mlops_pipelines.release.images.labels import lineage_labels
from mlops_pipelines.release.images.layer import with_layer
from mlops_pipelines.release.images.of_version import BOM_IN_IMAGE, image_of_version
from mlops_pipelines.release.images.once import ROLE, left_behind, tidy
from mlops_pipelines.release.images.push import push_image
from mlops_pipelines.release.images.runtime_image import runtime_image
from mlops_pipelines.release.images.try_image import CONFINED, _ready, serves_image
from mlops_pipelines.release.images.version_image import build_version_image
from mlops_pipelines.release.images.wheelhouse import Pinned, pinned, wheels
from mlops_pipelines.release.lock import requirements
from mlops_pipelines.resources import (
    MlflowResource,
    ProjectResource,
    StoreResource,
    TargetResource,
)
from mlops_pipelines.serve.bundle import read_json
from tests.conftest import ROOT, require
from tests.engine.conftest import WHEELHOUSE, remove_image
from tests.release.conftest import MODEL

# The first run makes a base image, downloads packages and makes two runtime images.
pytestmark = pytest.mark.timeout(600)

LOG = {"/log": "uid=65532,gid=65532"}
NO_SHELL = """
import os
for name in ("sh", "bash", "dash", "rbash"):
    for folder in ("/bin", "/usr/bin"):
        if os.path.lexists(f"{folder}/{name}"):
            os.remove(f"{folder}/{name}")
"""
STATE = """
import json, os
def writes(path):
    try:
        open(path, "w").close()
        return True
    except OSError as error:
        return error.strerror
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if "Cap" in line],
    "new_privileges": [line.split()[1] for line in open("/proc/self/status") if "NoNew" in line],
    "writes": {path: writes(path) for path in ("/bundle/x", "/etc/x", "/log/x", "/tmp/x")},
    "bundle": sorted(os.listdir("/bundle")),
    "top": sorted(os.listdir("/")),
}))
"""


def test_a_version_of_either_runtime_answers_in_its_image_as_in_training(engine, images, bundles):
    for version in (2, 3):
        result = serves_image(engine, images[version], bundles.folder(version))
        assert result.passed, result.sentence
        assert result.rows > 0
    assert _trials(engine, bundles) == []


def test_asking_again_finds_the_image_and_versions_share_a_runtime(engine, base, images, bundles):
    again = build_version_image(engine, bundles.folder(2), base, WHEELHOUSE, {})
    assert not again.built
    assert dataclasses.replace(again, seconds=0, built=True) == dataclasses.replace(
        images[2], seconds=0
    )
    assert images[1].runtime == images[2].runtime != images[3].runtime


def test_an_image_is_as_large_as_it_must_be(images, bundles):
    for version, most in ((1, 200e6), (2, 200e6), (3, 450e6)):
        image, folder = images[version], bundles.folder(version)
        of_model = sum(path.stat().st_size for path in folder.glob("model.*"))
        (_, _), (_, runtime), (_, own) = image.layers
        assert own == image.own_bytes <= 5e6 + of_model
        assert runtime <= most
        assert sum(size for _, size in image.layers) == image.size_bytes


def test_an_image_needs_no_shell_no_root_no_capability_and_writes_only_its_log(
    engine, images, bundles
):
    config = engine.images.get(images[2].id).attrs["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][1:4] == ["-P", "-m", "mlops_pipelines.serve"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    shorn = _changed(engine, images[2].id, NO_SHELL, config)
    try:
        confined = {**CONFINED, "tmpfs": CONFINED["tmpfs"] | LOG}
        container = engine.containers.run(shorn, detach=True, **confined)
        try:
            _until(lambda: container.reload() or container.health == "healthy", 90)
            assert b'"sh": executable file not found' in container.exec_run("sh").output
            said = json.loads(container.exec_run(["python3", "-c", STATE]).output)
        finally:
            container.remove(force=True)
    finally:
        remove_image(engine, shorn)
    assert said["user"] == [65532, 65532]
    assert set(said["capabilities"]) == {"0000000000000000"}
    assert said["new_privileges"] == ["1"]
    read_only = "Read-only file system"
    assert said["writes"] == {
        "/bundle/x": read_only, "/etc/x": read_only, "/log/x": True, "/tmp/x": True,
    }  # fmt: skip
    assert said["bundle"] == sorted(path.name for path in bundles.folder(2).iterdir())


def test_a_version_is_recorded_with_its_image_which_carries_its_lineage(engine, base, bundles):
    registry = bundles.registry
    settings = DockerTarget(type="docker", base_image=base)
    registry.keep_json(MODEL, 1, "bom.cdx.json", {"bomFormat": "CycloneDX"})
    made = image_of_version(
        engine, registry, settings, WHEELHOUSE.parent, bundles.folder(1), MODEL, 1
    )
    try:
        version = registry.version(MODEL, 1)
        assert version.tags[record.IMAGE] == made.id
        labels = engine.images.get(made.id).labels
        assert labels["org.opencontainers.image.title"] == MODEL
        assert labels["org.opencontainers.image.version"] == "1"
        assert labels["org.opencontainers.image.revision"] == version.tags[record.GIT_COMMIT]
        assert labels[record.SNAPSHOT] == version.tags[record.SNAPSHOT]
        assert json.loads(_file(engine, made.id, BOM_IN_IMAGE))["bomFormat"] == "CycloneDX"
        assert [proof.thing for proof in verify_image(engine, version)] == ["image"]
        assert all(proof.holds for proof in verify_image(engine, version))

        # A deployment asks for the bundle's image, and says nothing of labels.
        asked = build_version_image(engine, bundles.folder(1), base, WHEELHOUSE, {})
        assert asked.id == made.id and not asked.built

        changed = _build(
            engine, f"FROM {made.tag}\n", made.tag, labels={record.SNAPSHOT: "another"}
        )
        found = {p.thing: (p.recorded, p.found) for p in verify_image(engine, version)}
        remove_image(engine, changed)
        assert found == {
            "image": (made.id, changed),
            f"image label {record.SNAPSHOT}": (version.tags[record.SNAPSHOT], "another"),
        }
    finally:
        remove_image(engine, made.id)
    assert [proof.found for proof in verify_image(engine, version)] == ["absent"]


def test_an_image_whose_bundle_was_changed_does_not_serve(engine, images, bundles, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"another")
    changed = _build(
        engine,
        f"FROM {images[2].tag}\nCOPY model.onnx /bundle/model.onnx\n",
        f"mlops/test-changed:{uuid.uuid4().hex}",
        {"model.onnx": tmp_path / "model.onnx"},
    )
    try:
        image = dataclasses.replace(images[2], id=changed)
        result = serves_image(engine, image, bundles.folder(2))
    finally:
        remove_image(engine, changed)
    assert not result.passed
    assert "model.onnx was altered" in result.sentence
    assert "\n" not in result.sentence
    assert _trials(engine, bundles) == []


def test_an_engine_that_wants_every_layer_builds_the_image(engine, images, bundles):
    refusing = Refusing(engine)
    below = engine.images.get(images[2].runtime)
    tag = f"mlops/test-built:{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "layer.tar"
        with layer.open("wb") as stream:
            archive = Archive(stream)
            archive.tree("bundle", bundles.folder(2), without="__pycache__")
            archive.close()
        try:
            built = with_layer(refusing, below, layer, tag, {"of": "the test"})
            loaded = with_layer(engine, below, layer, f"{tag}-loaded", {"of": "the test"})
            assert refusing.asked == 1
            for one in (built, loaded):
                assert one.labels == {**below.labels, "of": "the test"}
                assert one.attrs["RootFS"]["Layers"][:-1] == below.attrs["RootFS"]["Layers"]
                same = ("User", "Entrypoint", "Env", "Healthcheck", "WorkingDir", "ExposedPorts")
                assert [one.attrs["Config"][key] for key in same] == [
                    below.attrs["Config"][key] for key in same
                ]
                assert engine.api.history(one.id)
            assert _file(engine, built.id, "/bundle/manifest.json") == _file(
                engine, loaded.id, "/bundle/manifest.json"
            )
        finally:
            remove_image(engine, tag)
            remove_image(engine, f"{tag}-loaded")


class Refusing:
    """An engine that takes no image without all of its layers, as one with containerd's store."""

    def __init__(self, engine):
        self.images, self._images, self.asked = self, engine.images, 0

    def load(self, stream):
        self.asked += 1
        raise docker.errors.ImageLoadError("layer.tar: not found")

    def __getattr__(self, name):
        return getattr(self._images, name)


def test_no_image_is_made_of_a_changed_bundle(engine, base, bundles, tmp_path):
    folder = tmp_path / "bundle"
    for path in bundles.folder(2).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = folder / path.relative_to(bundles.folder(2))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (folder / "golden.json").write_text("{}")
    with pytest.raises(TargetError, match=r"golden\.json was altered"):
        build_version_image(engine, folder, base, WHEELHOUSE, {})


def test_a_killed_run_leaves_no_trial_at_work_and_the_next_one_removes_it(
    engine, images, bundles, tmp_path
):
    script = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from mlops_pipelines.release.images import try_image
from mlops_pipelines.release.images.engine import connect
from mlops_pipelines.release.images.version_image import VersionImage
image = VersionImage({images[2].id!r}, "tag", 0, 0, (), "", 0, False)
with try_image._started(connect(), image, None) as container:
    print(container.id, flush=True)
    time.sleep(60)
"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    container = engine.containers.get(run.stdout.readline().strip())
    _ready(container)
    run.kill()
    run.wait()
    run.stdout.close()
    _until(lambda: container.reload() or container.status == "exited", 60)
    made = datetime.fromisoformat(container.attrs["Created"][:19]).replace(tzinfo=UTC)
    assert container.id not in left_behind(engine, made - timedelta(seconds=1))
    # Not everything that old is this test's to remove.
    assert container.id in left_behind(engine, made + timedelta(seconds=1))
    assert tidy(engine, [container.id]) == [container.id]
    assert _trials(engine, bundles) == []


def test_a_runtime_is_built_once_by_two_that_ask_at_once(engine, base):
    lock = next(text for name, text in requirements(_project_lock()) if name == "six")
    # A runtime of its own, which no other run of the tests asks for or removes.
    lock = f"# {uuid.uuid4()}\n{lock}"
    made = []
    asking = [
        threading.Thread(
            target=lambda: made.append(runtime_image(connect(), lock, base, WHEELHOUSE))
        )
        for _ in range(2)
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    remove_image(engine, made[0].id)
    assert sorted(one.built for one in made) == [False, True]
    assert len({one.id for one in made}) == 1


def test_wheels_that_were_downloaded_once_are_not_asked_for_again(
    engine, base, bundles, monkeypatch, tmp_path
):
    python = base_python(engine, base_image(engine, base), base)
    lock = (bundles.folder(2) / "requirements.lock").read_text()
    packages = pinned(lock, python.environment)
    # The engine may hold a runtime whose wheels another clone has downloaded.
    wheels(packages, python, WHEELHOUSE)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    found = wheels(packages, python, WHEELHOUSE)
    assert [path.name.split("-")[0].lower().replace("_", "-") for path in found] == [
        each.name for each in packages
    ]

    none = (Pinned("six", "0.0.1", frozenset({"00" * 32})),)
    with pytest.raises(TargetError) as raised:
        wheels(none, python, tmp_path / "empty")
    assert "six==0.0.1" in str(raised.value)
    assert "\n" not in str(raised.value)

    full = _small_disk(tmp_path / "full", 300)
    try:
        monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELHOUSE))
        with pytest.raises(TargetError, match=r"the disk of .*/full is full"):
            wheels(packages, python, full)
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_what_is_wrong_with_an_engine_or_a_base_is_one_line(engine, monkeypatch, tmp_path):
    with pytest.raises(TargetError, match=r"no-such-base:1 .*docker/base\.sh.*BASE_IMAGE"):
        base_image(engine, "127.0.0.1:9/no-such-base:1")

    bare = _load(engine, engine.version()["Arch"])
    try:
        with pytest.raises(TargetError, match=r"no python3 that starts.*BASE_IMAGE"):
            base_python(engine, base_image(engine, bare), "bare")
    finally:
        remove_image(engine, bare)

    foreign = _load(engine, "s390x")
    try:
        with pytest.raises(TargetError, match=r"is for s390x and the engine runs"):
            base_image(engine, foreign)
    finally:
        remove_image(engine, foreign)

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(TargetError, match=r"dead\.sock does not answer .*start it") as raised:
        connect()
    assert "\n" not in str(raised.value)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(TargetError, match=r"127\.0\.0\.1:9 does not answer \(Connection refused\)"):
        connect()


def test_a_registry_that_is_not_reached_is_one_line(engine, images):
    name = f"127.0.0.1:9/models/cancer:{uuid.uuid4().hex}"
    try:
        with pytest.raises(TargetError, match=r"cancer:\w+ cannot be pushed: .*refused"):
            push_image(engine, images[2].id, name)
    finally:
        remove_image(engine, name)


def test_the_asset_makes_records_and_tries_the_image(engine, base, bundles, tmp_path):
    settings = {"type": "docker", "base_image": base, "network": "no-such-network"}
    (tmp_path / "wheelhouse").symlink_to(WHEELHOUSE)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(versions_of(MODEL).name, ["2"])
        result = dg.materialize(
            [image_asset(Declared(bundles.spec, bundles.root / "assets" / MODEL, "defs.yaml"))],
            partition_key="2",
            resources={
                "project": ProjectResource(root=str(bundles.root), environment="docker"),
                "mlflow": MlflowResource(
                    tracking_uri=bundles.registry.tracking_uri,
                    artifact_root=bundles.registry.artifact_root,
                ),
                "store": StoreResource(
                    root=str(bundles.root / "store"), cache=str(tmp_path / "cache")
                ),
                "target": TargetResource(home=str(tmp_path / "serving"), settings=settings),
            },
            instance=instance,
        )
    shown = result.asset_materializations_for_node(f"{MODEL}__image")[0].metadata
    (check,) = result.get_asset_check_evaluations()
    digest = shown["digest"].value
    try:
        assert check.passed and check.metadata["rows"].value > 0
        tags = bundles.registry.version(MODEL, 2).tags
        assert tags[record.IMAGE] == digest
        assert lineage_labels(tags).items() <= engine.images.get(digest).labels.items()
        assert "| base: " in shown["layers"].value
        assert shown["size_bytes"].value > shown["own_bytes"].value > 0
    finally:
        remove_image(engine, digest)


def test_packages_are_those_of_the_base_images_python():
    lock = "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:01\n"
    lock += "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:02\n"
    lock += "colorama==0.4.6 ; sys_platform == 'win32'\n"
    for version, release, sha in (("3.11.2", "2.4.6", "01"), ("3.13.0", "2.5.5", "02")):
        environment = {"python_full_version": version, "sys_platform": "linux"}
        assert pinned(lock, environment) == (Pinned("numpy", release, frozenset({sha})),)
    with pytest.raises(TargetError, match="does not pin numpy"):
        pinned("numpy>=2\n", {})


def test_an_archive_is_the_same_bytes_whenever_and_by_whom_its_files_were_made(tmp_path):
    written = []
    for name, stamp, order in (("a", 1_000_000_000, 1), ("b", 1_700_000_000, -1)):
        for file in ("one/x", "two/y", "z")[::order]:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
            path.chmod(0o600 if order == 1 else 0o664)
            os.utime(path, (stamp, stamp))
        with io.BytesIO() as stream:
            archive = Archive(stream)
            archive.tree("root", tmp_path / name)
            archive.close()
            written.append(stream.getvalue())
    assert written[0] == written[1]
    with tarfile.open(fileobj=io.BytesIO(written[0])) as found:
        assert {entry.uid for entry in found} == {0}
        assert found.getnames() == [
            "root", "root/one", "root/one/x", "root/two", "root/two/y", "root/z",
        ]  # fmt: skip


def _project_lock() -> str:
    return (ROOT / "requirements.lock").read_text()


def _trials(engine, bundles):
    """Trials of these bundles: another run of the tests may be at work on the same engine."""
    found = engine.api.containers(all=True, filters={"label": f"{ROLE}=trial"})
    digests = {read_json(bundles.folder(v), "manifest.json")["digest"] for v in (1, 2, 3)}
    return [one for one in found if one["Labels"].get(record.BUNDLE) in digests]


def _until(holds, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _build(engine, dockerfile: str, tag: str, files=None, labels=None) -> str:
    with io.BytesIO() as stream:
        build_context(stream, dockerfile, files or {})
        return build(engine, stream, tag, labels or {}).id


def _changed(engine, image: str, script: str, config) -> str:
    """The image after `script` ran in it as root, configured as before."""
    container = engine.containers.create(
        image, entrypoint=["/usr/bin/env", "python3", "-c", script], user="0:0"
    )
    try:
        container.start()
        assert container.wait()["StatusCode"] == 0, container.logs()
        said = {key: config[key] for key in ("User", "Entrypoint", "Env", "Healthcheck")}
        return container.commit(conf={**said, "Cmd": []}).id
    finally:
        container.remove(force=True)


def _file(engine, image: str, path: str) -> bytes:
    container = engine.containers.create(image)
    try:
        chunks, _ = container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as found:
            member = found.extractfile(found.getmembers()[0])
            assert member is not None
            return member.read()
    finally:
        container.remove(force=True)


def _load(engine, architecture: str) -> str:
    """An image that holds one file, said to be for `architecture`."""
    with io.BytesIO() as layer:
        archive = Archive(layer)
        archive.file("hello", uuid.uuid4().bytes)
        archive.close()
        content = layer.getvalue()
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(content).hexdigest()}"]},
    }
    with io.BytesIO() as stream:
        archive = Archive(stream)
        archive.file("layer.tar", content)
        archive.file("config.json", json.dumps(config).encode())
        listed = [{"Config": "config.json", "Layers": ["layer.tar"]}]
        archive.file("manifest.json", json.dumps(listed).encode())
        archive.close()
        (image,) = engine.images.load(stream.getvalue())
    return image.id


def _small_disk(folder: Path, kilobytes: int) -> Path:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        require("docker", f"a small disk cannot be mounted: {done.stderr.strip()}")
    return folder
